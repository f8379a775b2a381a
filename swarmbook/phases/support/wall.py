"""The wall of a node: a table of nftables that is ours alone, and what of it is on a node.

It sees packets for the node itself before Docker redirects those for published ports, and speaks of the cluster's ports only:
everything else, SSH above all, passes it untouched. What it drops stays dropped, whatever other tables accept; what it accepts, the
host's own firewall may still drop.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, address, line, network, number
from swarmbook.phases.support.ports import Port, Users

__all__ = [
    "ADMITS",
    "FILES",
    "FOLDER",
    "LISTED",
    "LOADED",
    "PULL_DOWN",
    "RULES",
    "TABLE",
    "THERE",
    "UNDO",
    "UNIT",
    "UNIT_FILE",
    "WALL",
    "Wall",
    "rules_for",
    "sum_of",
]

#: A host is a node of one cluster, so one table is enough; what an earlier cluster left is replaced.
TABLE = "swarmbook"
FOLDER = "/etc/swarmbook-wall"
RULES = f"{FOLDER}/rules.nft"
#: Hash of what the kernel said the table is when it was confirmed: how a later run sees whether it still is.
LOADED = f"{FOLDER}/loaded.sha256"
UNIT = "swarmbook-wall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
#: All that 90 removes, besides the table.
FILES = (FOLDER, UNIT_FILE)
#: A timer of systemd's, which takes a wall back that no one has confirmed.
UNDO = "swarmbook-wall-undo"

#: Prints the hash of the table as the kernel has it; counters are left out.
LISTED = sh("nft -s list table inet @{table} | sha256sum | cut -c1-64", table=TABLE)
#: Prints the addresses that the table takes for nodes.
ADMITS = sh("nft list set inet @{table} nodes 2>/dev/null | grep -oE '[0-9]+(\\.[0-9]+){3}'", table=TABLE)

#: Removes table, timer, unit and files; also what is left of a run that was killed.
PULL_DOWN = sh(
    """systemctl stop @{timer} 2>/dev/null || true
systemctl disable -q --now @{unit} 2>/dev/null || true
rm -rf @{files}
systemctl daemon-reload
systemctl reset-failed @{unit} 2>/dev/null || true
nft list tables 2>/dev/null | grep -qx @{line} || exit 0
nft delete table inet @{table}""",
    timer=f"{UNDO}.timer",
    unit=UNIT,
    files=FILES,
    table=TABLE,
    line=f"table inet {TABLE}",
)
#: Succeeds where anything of it is.
THERE = sh(
    "{ nft list tables 2>/dev/null | grep -qx @{line} || ls -d @{files} 2>/dev/null | grep -q .; }",
    line=f"table inet {TABLE}",
    files=FILES,
)

_SUM = re.compile(r"[0-9a-f]{64}")
#: Where the containers of a node come from: the engine's bridges, and those of networks that users have made.
_BRIDGES = ("docker0", "docker_gwbridge", "br-*")


def rules_for(
    own: str, nodes: Iterable[str], near: Iterable[str], clients: Mapping[int, Sequence[str]], ports: Sequence[Port]
) -> str:
    """Write a node's rules, as ``nft -f`` takes them: the table is replaced in one transaction.

    Args:
        own: The node's private address.
        nodes: Private addresses of all nodes.
        near: Addresses of this computer, where it reaches the nodes' ports without SSH.
        clients: Networks whose hosts may use a port that is for clients, by its number.
        ports: The cluster's ports.
    """

    def numbers(users: Users, protocol: str) -> str:
        return ", ".join(str(port.number) for port in ports if port.users & users and port.protocol == protocol)

    def named(name: str, kind: str, elements: Iterable[str]) -> list[str]:
        listed = ", ".join(elements)
        inside = [f"    elements = {{ {listed} }}"] if listed else []
        return [f"  set {name} {{", f"    type ipv4_addr{kind}", *inside, "  }"]

    accepted = []
    for protocol in ("tcp", "udp"):
        if found := numbers(Users.NODES, protocol):
            # From where answers would go: what claims a node's address and comes from elsewhere is none.
            accepted.append(f"ip saddr @nodes fib saddr . iif oif exists {protocol} dport {{ {found} }} accept")
        if found := numbers(Users.CONTAINERS, protocol):
            accepted += [
                f'iifname "{bridge}" fib saddr . iif oif exists {protocol} dport {{ {found} }} accept'
                for bridge in _BRIDGES
            ]
    accepted += [f"ip saddr @clients_{port} tcp dport {port} accept" for port in clients]
    # A name server of the user's may listen at another address.
    local = [port.number for port in ports if port.users == Users.CONTAINERS]
    spared = ", ".join(str(number) for number in sorted(set(local)))
    dropped = []
    for protocol in ("tcp", "udp"):
        all_ports = ", ".join(str(port.number) for port in ports if port.protocol == protocol)
        dropped.append(f"{protocol} dport {{ {all_ports} }} counter drop")
    body = [
        'iifname "lo" accept',
        "ct direction reply accept",
        "fib daddr type unicast accept",
        *(
            f"{elsewhere} meta l4proto {{ tcp, udp }} th dport {{ {spared} }} accept"
            for elsewhere in (f"ip daddr != {own}", "meta nfproto ipv6")
            if spared
        ),
        *accepted,
        *dropped,
    ]
    return "\n".join(
        [
            "# Made by swarmbook's phase 03; 90 removes it. The next run puts back what is changed here.",
            *(f"# database {port}: {' '.join(networks)}".rstrip() for port, networks in clients.items()),
            f"table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            *named("nodes", "", sorted({*nodes, *near})),
            *(
                row
                for port, networks in clients.items()
                for row in named(f"clients_{port}", "; flags interval; auto-merge", networks)
            ),
            "  chain entrance {",
            "    type filter hook prerouting priority mangle; policy accept;",
            *(f"    {rule}" for rule in body),
            "  }",
            "}",
            "",
        ]
    )


def sum_of(rules: str) -> str:
    """Return the hash by which a node tells which rules it has."""
    return hashlib.sha256(rules.encode()).hexdigest()


@dataclass(frozen=True)
class Wall:
    """What of a wall is on a node.

    Args:
        rules: Hash of its file of rules; empty where there is none.
        loaded: Whether a table of ours is loaded.
        intact: Whether that is as it was when it was confirmed.
        boots: Whether it is loaded at boot.
        files: Our files that are there.
        admits: Addresses that it takes for nodes.
        trouble: Why the kernel's tables cannot be listed; empty where they can, or where ``nft`` is missing.
        tool: Whether ``nft`` is there.
        databases: By its published port, the networks of a database's clients: several may share a swarm, each with parameters of its own.
    """

    rules: str = ""
    loaded: bool = False
    intact: bool = False
    boots: bool = False
    files: tuple[str, ...] = ()
    admits: tuple[str, ...] = ()
    trouble: str = ""
    tool: bool = True
    databases: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def there(self) -> bool:
        """Whether anything of it is."""
        return self.loaded or bool(self.files)


def _one_sum(lines: Sequence[str]) -> str:
    text = "".join(lines).strip()
    if text and not _SUM.fullmatch(text):
        raise ValueError(f"no hash: {text[:80]!r}")
    return text


def _read(facts: Facts) -> Wall:
    listed, confirmed = _one_sum(facts["listed"]), _one_sum(facts["confirmed"])
    return Wall(
        rules=_one_sum(facts["rules"]),
        loaded=bool(listed),
        intact=bool(listed) and listed == confirmed,
        boots=any(facts["boots"]),
        files=tuple(path for path in FILES if path in facts["files"]),
        admits=tuple(address(found) for found in facts["admits"] if found),
        trouble=line(" ".join(facts["trouble"])),
        tool=any(facts["tool"]),
        databases=dict(_database(found) for found in facts["databases"] if found),
    )


def _database(said: str) -> tuple[int, tuple[str, ...]]:
    port, _, networks = said.partition(":")
    return number(port, 65535), tuple(network(found) for found in networks.split())


#: What of a wall is on a node.
WALL: Probe[Wall] = Probe(
    sh(
        """{ command -v nft >/dev/null && echo yes; } | as tool
{ command -v nft >/dev/null && nft list tables 2>&1 >/dev/null | head -n 3; } | as trouble
{ ! nft list table inet @{table} >/dev/null 2>&1 || @!{listed}; } | as listed
cat @{loaded} 2>/dev/null | as confirmed
{ [ ! -e @{rules} ] || sha256sum @{rules} | cut -c1-64; } | as rules
sed -n 's/^# database //p' @{rules} 2>/dev/null | as databases
{ systemctl is-enabled -q @{unit} 2>/dev/null && echo yes; } | as boots
ls -d @{files} 2>/dev/null | as files
@!{admits} | as admits
true""",
        table=TABLE,
        listed=LISTED,
        admits=ADMITS,
        loaded=LOADED,
        rules=RULES,
        unit=UNIT,
        files=FILES,
    ),
    _read,
)
