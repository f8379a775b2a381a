"""What the nodes say, collected from all at once: engines, swarm, Consul, members, disk, memory, network. Reads only."""

from __future__ import annotations

import concurrent.futures
import re
import secrets as _random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.fleet import Fleet
from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, UsageError
from swarmbook.base.files import write_atomic
from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask
from swarmbook.book.book import Book
from swarmbook.diagnosis.symptoms import Line, Section, pick
from swarmbook.machines.providers import provider_for
from swarmbook.model.transcript import Transcript
from swarmbook.phases.support.member_data import data_folder

__all__ = ["Collected", "NodeLogs", "collect", "parse_since", "since_text"]

_NODE_S = 30  # for one node's script
_ALL_S = 45  # for all of them together, connecting included
_MOST = 512 * 1024  # bytes of one node's file
_TAIL = 400  # lines of one log
_PROVIDER_S = 10
_POLL_S = 0.2
#: A healthy node's script prints less by its own bounds; a node need not keep to them.
_MOST_SAID = 32 << 20
_MOST_SECTIONS = 300
_LONGEST_LINE = 8000
_LONGEST_NAME = 200
_TRUNCATED = "[... {} characters left out ...]"


@dataclass(frozen=True)
class NodeLogs:
    """What one node gave.

    Args:
        node: Its name.
        file: Where it was written.
        size: Bytes of that file.
        trouble: Why nothing, or not all, came; nothing when it answered in full.
        answered: Whether it answered at all.
    """

    node: str
    file: Path
    size: int
    trouble: str = ""
    answered: bool = True


@dataclass(frozen=True)
class Collected:
    """What all nodes gave; ``lines`` are the few that matter."""

    folder: Path
    nodes: tuple[NodeLogs, ...]
    lines: tuple[Line, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return what was collected as plain data."""
        rows = [
            {"node": n.node, "file": str(n.file), "bytes": n.size, "answered": n.answered, "trouble": n.trouble}
            for n in self.nodes
        ]
        lines = [
            {"node": line.node, "source": line.source, "text": line.text, "times": line.times} for line in self.lines
        ]
        return {"folder": str(self.folder), "seconds": round(self.seconds, 3), "nodes": rows, "lines": lines}


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """Parse a moment as a person names it.

    Args:
        text: An age such as ``90s``, ``30m``, ``2h``, ``1d``; or a time in ISO 8601, UTC where it names no zone.
        now: The present, for ages.

    Raises:
        UsageError: It is neither.
    """
    if found := re.fullmatch(r"(\d{1,6})\s*([smhd])", text.strip()):
        age = timedelta(seconds=int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]])
        return (now or datetime.now(timezone.utc)) - age
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"--since {text} is not a time",
            wanted="an age (90s, 30m, 2h, 1d) or a time (2026-11-25T02:57:37Z)",
            next="--since 2h",
        ) from None
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def since_text(moment: datetime) -> str:
    """Format a moment as :func:`symptoms.pick` compares it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _script(book: Book, mark: str, since: datetime | None) -> Script:
    values = {
        "MARK": mark,
        "TAIL": str(_TAIL),
        "GALERA": book.params.mariadb_cluster_name,
        "DATA": data_folder(book.params),
        "SINCE": f"{since.timestamp():.0f}" if since else "",
    }
    names = ("MARK", "TAIL", "GALERA", "DATA", "SINCE")
    head = [sh("@!{name}=@{value}", name=Script(name), value=values[name]) for name in names]
    text = files("swarmbook.diagnosis").joinpath("logs.sh").read_text(encoding="utf-8")
    return lines(*head, Script(text))


def _sections(output: str, mark: str) -> list[Section]:
    """Mask the script's output, and split it into sections."""
    found = []
    # Masked as a whole first: nothing is cut before it was looked at.
    for part in mask(plain(output)).split(f"{mark} ")[1 : _MOST_SECTIONS + 1]:
        head, _, text = part.partition("\n")
        name, _, command = head.partition("\t")
        command = command[:_LONGEST_LINE].replace("\t", "\n  ").strip()
        found.append(Section(name[:_LONGEST_NAME], command, _whole_lines(text)))
    return found


def _whole_lines(text: str) -> str:
    """Leave out what no person reads, and no pattern should be tried on; logs.sh does so too, on a node that runs it as it is."""
    return "\n".join(
        line if len(line) <= _LONGEST_LINE else f"[a line of {len(line)} characters left out]"
        for line in text.rstrip("\n").split("\n")
    )


def _page(node: str, sections: Sequence[Section], when: str) -> str:
    """Render one node's file: a head that lists the sections, then each.

    Where it is too long, the longest sections give way first.
    """
    texts = [section.text for section in sections]
    spent = sum(len(text.encode()) for text in texts)
    while texts and spent > _MOST * 9 // 10:
        at = max(range(len(texts)), key=lambda index: len(texts[index]))
        text = texts[at]
        keep = max(len(text) // 2 - 100, 400)
        texts[at] = f"{text[: keep // 4]}\n{_TRUNCATED.format(len(text) - keep)}\n{text[-(keep * 3 // 4) :]}"
        if len(texts[at]) >= len(text):
            break
        spent = sum(len(text.encode()) for text in texts)
    lines = [
        f"{node}, collected {when} by swarmbook",
        "",
        *(f"  {number:2} {section.name}" for number, section in enumerate(sections, 1)),
        "",
    ]
    for number, (section, text) in enumerate(zip(sections, texts), 1):
        title = f"==== {number} {section.name} "
        lines += [
            title + "=" * max(0, 110 - len(title)),
            *([f"$ {section.command}"] if section.command else []),
            text or "(nothing)",
            "",
        ]
    return "\n".join(lines)


def _ask(host: Host, script: Script, mark: str) -> tuple[list[Section], str]:
    output = host.run(script, check=False, timeout_s=_NODE_S, quiet=True, most=_MOST_SAID)
    sections = _sections(output.stdout, mark)
    if output.exit == 124:
        return sections, f"not everything came within {_NODE_S} s"
    if output.exit:
        return sections, f"the script ended with exit {output.exit}: {mask(output.stderr.strip())[-300:]}"
    return sections, ""


def _states(book: Book) -> dict[str, str]:
    """Ask the provider how the machines are; under ``""`` stands why it says nothing."""
    states: dict[str, str] = {}

    def ask() -> None:
        try:
            states.update(provider_for(book).states())
        except Exception as error:  # whatever it meets: this is asked because something is broken already
            states[""] = f"cannot be asked: {(mask(plain(str(error))) or type(error).__name__).splitlines()[0]}"

    # A thread of its own that is not joined: the provider may be what hangs.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PROVIDER_S)
    return dict(states) if not asking.is_alive() else {"": f"no answer within {_PROVIDER_S} s"}


def collect(
    book: Book,
    folder: Path,
    *,
    names: Sequence[str] = (),
    phase: str = "",
    since: datetime | None = None,
    fresh: datetime | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Collected:
    """Ask all nodes at once, and write a file for each; also for one that does not answer.

    Args:
        book: The open book; its connections are not used, since they may be broken.
        folder: Gets ``NODE.txt`` for each node.
        names: Only these nodes; all of the inventory and of the parameters by default.
        phase: Number of the notebook that failed: whose sources the lines that matter are picked from.
        since: Logs from then on only.
        fresh: Lines before it do not matter.
        stopped: Asked meanwhile; once it is true, what came so far is written.

    Returns:
        Where the files are, and the lines that matter.

    Raises:
        UsageError: A name is no node.
        OSError: A file could not be written.
    """
    began = time.monotonic()
    inventory = {node.name: node for node in book.cluster.nodes}
    every = list(dict.fromkeys([*book.params.nodes, *inventory]))
    for name in names:
        if name not in every:
            raise UsageError(
                f"no node {name} in cluster {book.cluster.name}",
                where=str(book.cluster.file),
                wanted=", ".join(every),
                next="swarmbook ls",
                code=Code.NODE_UNKNOWN,
            )
    chosen = [name for name in every if not names or name in names]
    mark = f"@@{_random.token_hex(8)}"
    script = _script(book, mark, since)
    fleet = Fleet(book.cluster, [inventory[name] for name in chosen if name in inventory], Transcript())
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=16)
    try:
        asked = {name: pool.submit(_ask, host, script, mark) for name, host in fleet.hosts.items()}
        while time.monotonic() - began < _ALL_S and not stopped():
            if not concurrent.futures.wait(asked.values(), timeout=_POLL_S).not_done:
                break
        answers = {
            name: _answer(asked.get(name), "stopped by a signal" if stopped() else f"no answer within {_ALL_S} s")
            for name in chosen
        }
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        fleet.close()  # also ends the threads that still wait for an answer
    if any(not sections for sections, _ in answers.values()):
        states = _states(book)
        for name, (sections, trouble) in answers.items():
            if not sections:
                state = states.get(name) or states.get("") or "no such machine"
                answers[name] = (
                    [Section("node: does not answer", "", f"{trouble}\nthe provider says: {state}")],
                    trouble,
                )
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    nodes = []
    for name, (sections, trouble) in answers.items():
        silent = sections[0].source == "node"
        if trouble and not silent:
            sections = [Section("node: answered in part", "", trouble), *sections]
        page = mask(plain(_page(name, sections, when)))
        write_atomic(folder / f"{name}.txt", page, mode=0o600)
        answers[name] = (sections, trouble)
        nodes.append(
            NodeLogs(
                name, folder / f"{name}.txt", len(page.encode()), trouble.splitlines()[0] if trouble else "", not silent
            )
        )
    lines = pick({name: sections for name, (sections, _) in answers.items()}, phase, since_text(fresh) if fresh else "")
    return Collected(folder, tuple(nodes), tuple(lines), time.monotonic() - began)


def _answer(
    future: concurrent.futures.Future[tuple[list[Section], str]] | None, late: str
) -> tuple[list[Section], str]:
    if future is None:
        return [], "it is not in the cluster's inventory: 01 has not made it"
    if not future.done():
        return [], late
    error = future.exception()
    if error is None:
        sections, trouble = future.result()
        return sections, trouble or ("" if sections else "it gave nothing")
    if isinstance(error, SwarmbookError):
        return [], mask(
            f"{type(error).__name__}: {error.what}" + (f" ({error.seen.splitlines()[0]})" if error.seen else "")
        )
    return [], mask(plain(f"{type(error).__name__}: {error}"))
