"""The few lines that matter, picked from what the nodes' logs say; pure: text in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarmbook.model.phases import PHASES

__all__ = ["MOST", "Line", "Section", "pick"]

#: Lines that are shown at most.
MOST = 12
_EACH = 4  # of one source on one node, so that one that repeats itself does not hide the others
_WIDE = 400  # characters of one line


@dataclass(frozen=True)
class Section:
    """One source of one node.

    Args:
        name: What it is, for a person: ``engine: journal``. The word before the colon is the source.
        command: What was run to get it.
        text: What that said.
    """

    name: str
    command: str
    text: str

    @property
    def source(self) -> str:
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class Line:
    """One line that matters, with where it stands; ``times`` counts those that say the same."""

    node: str
    source: str
    text: str
    times: int = 1

    def __str__(self) -> str:
        return f"{self.node}  {self.source}: {self.text}" + (f"  ({self.times} times)" if self.times > 1 else "")


#: Of a phase that names none.
_EVERY_SOURCE = ("node", "galera", "consul", "swarm", "engine", "disk", "kernel", "system")
_GRAVE = re.compile(
    r"\[ERROR\]|\bERROR\b|FATAL|EMERG|[Pp]anic|level=(error|fatal)|No space left|[Oo]ut of memory|oom[-_]kill|Killed process|I/O error"
    r"|[Cc]onnection refused|[Pp]ermission denied|Access denied|address already in use|no such host|certificate (has|is|verify)"
    r"|unable to |[Cc]annot |Can't |[Ff]ailed (to|with)|Failed with result|Aborting|exit status|Rejected |\bFailed [0-9a-z]|non-zero exit|does not answer|[1-9]\d* failures in a row|oom=true|^exit [1-9]|^[A-Za-z]+Error: "
)
_SLIGHT = re.compile(r"level=warn|\[WARN(ING)?\]|\bWARN\b|[Tt]imed? ?out|refused|\b(9[5-9]|100)%|[Ff]ailed")
#: What looks grave, and comes and goes while a cluster starts, is the answer to a question of 04 and 05, or is systemd's word without a cause.
_PASSING = re.compile(
    r"\[Warning\]|agent\.(http|client|anti_entropy|cache|auto_config)|announce: |pulling image failed|Failed with result|Failed to start|Main process exited|cni |level=warn|\[WARN\]"
)
_FULL = re.compile(r"\b(9[5-9]|100)%")
#: What is said on a healthy node as well.
_NOISE = re.compile(
    r"level=info|level=debug|\[Note\]|\[INFO\]|\[DEBUG\]|\bDEBUG\b|SSL.*self-signed"
    r"|ip_vs|ipvs|IPVS|error reading the kernel parameter|set bridge default vlan|[Bb]ridge-nf-call|blkio|Could not load necessary modules|skip loading plugin|cri |io_uring|innodb_use_native_aio|apparmor|not a swarm manager|failed-start\.log"
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)[.,]?\d*(?:Z|[+-]\d\d:?\d\d)?\s*")
#: A second clock and the process behind it: journalctl's host and unit, dockerd's own time, MariaDB's.
_PREFIX = re.compile(
    r"^(?:[\w.-]+ [\w./@-]+\[\d+\]: )?(?:time=\"[^\"]*\" )?(?:\d{4}-\d\d-\d\d[T ]+\d?\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\s+)?(?:\d+ (?=\[))?"
)
#: Ids at the end of what an engine's swarm says.
_IDS = re.compile(r"(?: (?:module|[\w-]+[.]?id|method|service|task|node|spanID|traceID)=\S+)+$")
_VARIES = re.compile(r"[0-9a-f]{8,}|\d+|\s+")


def _weight(source: str, text: str) -> int:
    if source == "node":
        return 2
    if source in ("disk", "system"):
        return 2 if _FULL.search(text) else 0
    if _NOISE.search(text):
        return 0
    if _PASSING.search(text):
        return 1
    return 2 if _GRAVE.search(text) else 1 if _SLIGHT.search(text) else 0


def pick(collected: Mapping[str, Iterable[Section]], phase: str = "", since: str = "", most: int = MOST) -> list[Line]:
    """Pick the lines that matter from the sources that belong to a phase.

    Grave ones go before warnings, the last of a source before earlier ones, and what says the same, numbers and
    ids aside, is reported once for each node.

    Args:
        collected: Sections by node.
        phase: Number of the notebook that failed; nothing for all sources.
        since: UTC as ``2026-11-25T02:57:37``: lines with an earlier time do not count. Lines without a time always do.
        most: How many at most.
    """
    order = {source: at for at, source in enumerate(PHASES[phase].log_sources if phase in PHASES else _EVERY_SOURCE)}
    found: list[tuple[int, int, str, list[Line]]] = []
    reported: dict[str, str] = {}  # every manager reports the same about the swarm: the first one is enough
    for node, sections in collected.items():
        kinds: dict[tuple[int, str, str], dict[str, Line]] = {}
        mine: dict[tuple[str, str], str] = {}
        for section in sections:
            if section.source not in order:
                continue
            for raw in section.text.splitlines():
                time = _TIME.match(raw)
                if time and since and f"{time[1]}T{time[2]}" < since:
                    continue
                weight = _weight(section.source, raw)
                text = _IDS.sub("", _PREFIX.sub("", raw[time.end() :] if time else raw).strip())
                if not weight or not text:
                    continue
                key = _VARIES.sub("#", text)
                if section.source == "swarm" and reported.setdefault(key, node) != node:
                    continue
                if (
                    mine.setdefault((section.source, key), section.name) != section.name
                ):  # a log and the copy that was kept of it
                    continue
                said = kinds.setdefault((weight, section.source, section.name), {})
                before = said.pop(key, None)  # put in again: the last one of its kind counts
                said[key] = Line(
                    node, section.name.partition(",")[0], text[:_WIDE], (before.times if before else 0) + 1
                )
        for (weight, source, _), kept in kinds.items():
            found.append((-weight, order[source], node, list(kept.values())[-_EACH:]))
    found.sort(key=lambda entry: entry[:3])
    grave = any(weight == -2 for weight, *_ in found)  # warnings explain nothing where there are errors
    return [line for weight, _, _, lines in found if weight == -2 or not grave for line in lines][:most]
