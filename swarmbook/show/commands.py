"""The commands of a step in words: a script that a shell can read, and the same folded into a page."""

from __future__ import annotations

from collections.abc import Iterable

from swarmbook.base.markup import Markup, tag
from swarmbook.base.words import many
from swarmbook.model.transcript import Command

__all__ = ["as_html", "as_script"]


def _by_host(commands: Iterable[Command]) -> dict[str, list[Command]]:
    hosts: dict[str, list[Command]] = {}
    for command in commands:
        hosts.setdefault(command.host, []).append(command)
    return dict(sorted(hosts.items()))


def as_script(commands: Iterable[Command]) -> str:
    """Return a shell script, host by host; times and exit codes are comments."""
    lines = []
    for host, ran in _by_host(commands).items():
        lines.append(f"# --- {host} ---")
        for command in ran:
            lines += [f"# {command.seconds:.2f} s, exit {command.exit}", command.text]
            lines += [f"#   {line}" for line in command.tail.splitlines()]
    return "\n".join(lines)


def as_html(commands: Iterable[Command], picture: str = "") -> Markup:
    """Return the same, folded.

    Args:
        commands: What ran; nothing gives nothing.
        picture: HTML of a picture that stands above.
    """
    ran = list(commands)
    if not ran:
        return Markup()
    hosts = _by_host(ran)
    head = f"{many(len(ran), 'command')} on {many(len(hosts), 'host')}, {sum(c.seconds for c in ran):.1f} s of work"
    return tag("details", tag("summary", head), Markup(picture), tag("pre", as_script(ran)))
