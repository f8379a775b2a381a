"""A command at regular times, as systemd and cron want it written."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMANDS", "EVERY", "Watch", "cron_line", "units"]

#: What can be said alike to systemd and to cron: minutes.
EVERY: Mapping[str, int] = {
    "1m": 1, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "3h": 180, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "1d": 1440,
}  # fmt: skip
#: What can be scheduled: the words behind the command, and how often it is done by default.
COMMANDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "verify": (("--on-change",), "1h"),
    "backup": (("--verify",), "1d"),
    "archive": ((), "1m"),
}
#: What an archiving takes itself, about: between two there is so much less, so that nothing is outside for longer than is said.
_TAKES_S = 20


@dataclass(frozen=True)
class Watch:
    """What is to be done, how often.

    Args:
        cluster: Its name.
        params: The parameter file, absolute.
        home: The book's folder, absolute.
        program: The swarmbook command, absolute.
        every: One of :data:`EVERY`.
        what: One of :data:`COMMANDS`.
    """

    cluster: str
    params: Path
    home: Path
    program: Path
    every: str
    what: str = "verify"

    @property
    def command(self) -> list[str]:
        """The words of the command."""
        return [str(self.program), self.what, str(self.params), *COMMANDS[self.what][0]]


def _unit_word(text: str) -> str:
    """Quote a word of a unit's command line, or of an assignment (systemd.syntax, systemd.unit: specifiers)."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[^A-Za-z0-9_./:@+,=%-]", text) else text


def units(watch: Watch) -> dict[str, str]:
    """Return a service and its timer.

    Args:
        watch: What to do.

    Returns:
        Content by file name.
    """
    name = f"swarmbook-{watch.what}-{watch.cluster}"
    command = " ".join(_unit_word(word).replace("$", "$$") for word in watch.command)
    service = f"""[Unit]
Description=swarmbook {watch.what} of the cluster {watch.cluster}
Documentation=man:systemd.timer(5)
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={str(watch.home).replace("%", "%%")}
Environment={_unit_word(f"SWARMBOOK_HOME={watch.home}")}
ExecStart={command}
"""
    minutes = EVERY[watch.every]
    pause = f"{minutes * 60 - _TAKES_S}s" if watch.what == "archive" else f"{minutes}min"
    timer = f"""[Unit]
Description=swarmbook {watch.what} of the cluster {watch.cluster}, every {watch.every}

[Timer]
OnActiveSec=1min
OnUnitInactiveSec={pause}
AccuracySec={"1s" if minutes == 1 else "30s"}

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def cron_line(watch: Watch) -> str:
    """Return a line for crontab. Clusters begin at different minutes, which follow from their names.

    Args:
        watch: What to do.
    """
    minutes = EVERY[watch.every]
    draw = int(hashlib.sha256(watch.cluster.encode()).hexdigest(), 16)
    minute, hour = draw % min(minutes, 60), (draw // 60) % max(minutes // 60, 1)
    if minutes <= 60:
        when = f"{minute}-59/{minutes} * * * *" if minutes < 60 else f"{minute} * * * *"
    else:
        when = f"{minute} {hour}-23/{minutes // 60} * * *" if minutes < 1440 else f"{minute} {hour} * * *"
    home, command = shlex.quote(str(watch.home)), shlex.join(watch.command)
    # An unquoted % ends the command and begins its input, also between quotes (crontab(5)).
    return f"{when} cd {home} && SWARMBOOK_HOME={home} {command}".replace("%", "\\%")
