"""How a wall is put up so that it cannot shut anyone out: it falls again by itself unless it is confirmed from here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from swarmbook.access.commands import lines, sh
from swarmbook.access.fleet import fan_out
from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.access.probe import Facts, Probe, name, number
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, HostUnreachable, SwarmbookError, WorldError
from swarmbook.book.book import Book
from swarmbook.phases.support.ports import Port, Users
from swarmbook.phases.support.wall import FOLDER, LISTED, LOADED, PULL_DOWN, RULES, TABLE, UNDO, UNIT, UNIT_FILE

__all__ = ["confirm_all", "pull_down", "put_up", "still_reached", "take_back", "unanswered"]

#: Seconds after which a wall that was not confirmed falls. Enough for a login that is refused as slowly as can be, and the tries.
FALLS_AFTER_S = 60
#: How long a connection between two nodes may take, seconds. What a wall drops takes all of it.
_TRY_S = 2
_NEW = f"{RULES}.new"

#: Before anything listens, and before the network is up. A restart of Debian's own nftables.service flushes all tables: ours comes back.
_UNIT = f"""[Unit]
Description=swarmbook's wall: the cluster's ports are for its nodes
DefaultDependencies=no
After=nftables.service
PartOf=nftables.service
Wants=network-pre.target
Before=network-pre.target docker.service shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={FOLDER}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES}

[Install]
WantedBy=sysinit.target
"""

#: Brings back what was confirmed before, or nothing.
_FALL = sh(
    "rm -f @{new}; nft delete table inet @{table}; [ ! -e @{rules} ] || nft -f @{rules}",
    new=_NEW,
    table=TABLE,
    rules=RULES,
)


def put_up(host: Host, rules: str) -> None:
    """Load a node's rules; they fall again after :data:`FALLS_AFTER_S` unless they are confirmed.

    A run that was killed may have left a timer: what it guards falls first, so that nothing stands unguarded for a moment.

    Raises:
        CommandFailed: The kernel does not take them; nothing was loaded.
    """
    host.run(sh("install -d -m 700 @{folder}", folder=FOLDER))
    host.put(_NEW, rules, mode=0o600)
    host.run(
        lines(
            sh("set -e"),
            sh("nft -c -f @{new}", new=_NEW),
            sh(
                """if systemctl is-active -q @{timer}; then systemctl start @{service} || true; systemctl stop @{timer}; fi
systemctl reset-failed @{timer} @{service} 2>/dev/null || true""",
                timer=f"{UNDO}.timer",
                service=f"{UNDO}.service",
            ),
            sh(
                "systemd-run --quiet --collect --unit=@{undo} --on-active=@{seconds} --timer-property=AccuracySec=1s /bin/sh -c @{fall}",
                undo=UNDO,
                seconds=FALLS_AFTER_S,
                fall=_FALL,
            ),
            sh("nft -f @{new}", new=_NEW),
        )
    )


def take_back(host: Host) -> None:
    """Let a wall fall now; where the node cannot be asked, its timer does it."""
    with contextlib.suppress(SwarmbookError):
        host.run(
            sh(
                "if systemctl is-active -q @{timer}; then systemctl start @{service} || true; systemctl stop @{timer}; fi; rm -f @{new}",
                timer=f"{UNDO}.timer",
                service=f"{UNDO}.service",
                new=_NEW,
            ),
            timeout_s=10,
        )


def confirm_all(book: Book, names: Sequence[str]) -> None:
    """Make walls stay, over a boot as well.

    Raises:
        WorldError: One has fallen meanwhile.
    """

    def one(host: Host) -> None:
        host.put(UNIT_FILE, _UNIT)
        if not host.run(sh("systemctl is-active -q @{timer}", timer=f"{UNDO}.timer"), check=False).ok:
            raise _taken_back(host.name, f"confirmed within {FALLS_AFTER_S} s", "it has fallen")
        host.run(
            lines(
                sh("set -e"),
                sh(
                    'systemctl is-active -q @{timer} || { echo "it has fallen: not confirmed within "@{seconds}" s" >&2; exit 1; }',
                    timer=f"{UNDO}.timer",
                    seconds=FALLS_AFTER_S,
                ),
                sh("mv -f @{new} @{rules}", new=_NEW, rules=RULES),
                sh("@!{listed} > @{loaded}", listed=LISTED, loaded=LOADED),
                sh("systemctl daemon-reload && systemctl enable -q @{unit}", unit=UNIT),
                sh("systemctl restart @{unit}", unit=UNIT),
                sh("systemctl stop @{timer}", timer=f"{UNDO}.timer"),
            )
        )

    book.fleet.each(one, names)


def pull_down(host: Host) -> None:
    """Remove a wall with all that belongs to it."""
    host.run(PULL_DOWN)


# -- what must go on working -------------------------------------------------------------------------------------------


def unanswered_from(others: Sequence[Node], ports: Sequence[Port]) -> Probe[frozenset[tuple[str, int]]]:
    """Ask a node from which ports of the others nothing at all comes back; a refusal is an answer, too.

    Args:
        others: The other nodes.
        ports: Which ports are tried: those of TCP.
    """
    tries = [
        sh(
            "(timeout @{within} bash -c @{open} >/dev/null 2>&1; [ $? != 124 ] || echo @{name} @{number}) &",
            within=_TRY_S,
            open=sh("exec 3<>@{end}", end=f"/dev/tcp/{other.private_address}/{port.number}"),
            name=other.name,
            number=port.number,
        )
        for other in others
        for port in ports
        if port.protocol == "tcp"
    ]

    def read(facts: Facts) -> frozenset[tuple[str, int]]:
        pairs = [line.split() for line in facts["silent"] if line]
        return frozenset((name(other), number(port, 65535)) for other, port in pairs)

    return Probe(sh("bash -c @{inner} | as silent", inner=lines(*tries, sh("wait"))), read)


def unanswered(book: Book, ports: Sequence[Port]) -> dict[str, frozenset[tuple[str, int]]]:
    """Ask every node from which ports of the others nothing comes back."""
    nodes = book.nodes
    among = [port for port in ports if Users.NODES in port.users]

    def one(host: Host) -> frozenset[tuple[str, int]]:
        return host.ask(unanswered_from([node for node in nodes if node.name != host.name], among))

    return book.fleet.each(one)


def still_reached(book: Book, ports: Sequence[Port], before: Mapping[str, frozenset[tuple[str, int]]]) -> None:
    """Log in to every node once more, and try the ways between them.

    Args:
        book: The open book.
        ports: The cluster's.
        before: What did not answer before the walls stood: that is not their doing.

    Raises:
        WorldError: Something is shut that must not be.
    """

    def log_in(node: Node) -> None:
        host = Host(node, book.cluster, book.transcript)
        try:
            host.run(sh("true"), quiet=True)
        finally:
            host.close()

    try:
        fan_out(log_in, {node.name: node for node in book.nodes})
        lost = {one: silent - before[one] for one, silent in unanswered(book, ports).items()}
    except (HostUnreachable, CommandFailed) as error:
        raise _taken_back(error.where or "", "a new login over SSH", error.seen or error.what) from None
    if any(lost.values()):
        said = [
            f"{one} does not reach {port}/tcp of {other}" for one, ways in lost.items() for other, port in sorted(ways)
        ]
        raise _taken_back(
            ", ".join(sorted({other for ways in lost.values() for other, _ in ways})),
            "every way between the nodes that was open before",
            "\n".join(said[:20]),
        )


def _taken_back(where: str, wanted: str, seen: str) -> WorldError:
    return WorldError(
        f"the walls shut what must stay open, and were taken back; what cannot be reached opens by itself within {FALLS_AFTER_S} s",
        where=where,
        wanted=wanted,
        seen=seen,
        next="do the nodes reach each other from the addresses that swarmbook knows (swarmbook ls)? private_addresses sets them; "
        "firewall: never does without walls",
        code=Code.WALL_TAKEN_BACK,
    )
