"""The registry of phases: one entry a notebook. Everything that knows of a phase reads it here.

A new notebook is one entry below, one folder (or file) in ``swarmbook/phases``, and one notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

__all__ = ["PHASES", "ROTATIONS", "Kind", "Phase", "numbers_of", "rotation_chapters"]


class Kind(Enum):
    """What a phase is for."""

    START = "start"  # says what would be built; touches nothing
    BUILD = "build"  # `swarmbook run` runs these, in order
    CARE = "care"  # looks after what stands; runs when it is asked for
    TAKE_AWAY = "take-away"  # destroys, and asks first


@dataclass(frozen=True)
class Phase:
    """One notebook and what belongs to it.

    Args:
        number: Two digits; the order of the book.
        name: The notebook is ``NUMBER_NAME.ipynb``.
        kind: What it is for.
        steps: What its cells call, in order, as ``module:function`` below ``swarmbook.phases``; a cell says ``module.function(book)``.
        log_sources: Which sections of the nodes' logs matter when it fails, the likeliest first (see ``diagnosis/logs.sh``).
        orders: It makes machines, which may cost money.
        wipes: It may wipe disks that the parameters name.
        builds: What stands after it that did not stand before, as the report draws it.
        serves: After it a database serves, so that a run which ends here says how to reach it.
        verifies: It only checks what stands; ``swarmbook verify`` runs these.
        takes_away: Numbers of the phases whose work it removes.
        cancels: It may remove machines, which is confirmed by a word.
        replaces: It may put other data in the place of a database's, which is confirmed by a word.
        loses: It may give up transactions, which is confirmed by a word and their number.
        promotes: It may make a standby the cluster that takes the writes, which is confirmed by a word.
        shrinks: It meets nodes that the parameters name no longer, and takes them out.
    """

    number: str
    name: str
    kind: Kind
    steps: tuple[str, ...]
    log_sources: tuple[str, ...] = ()
    orders: bool = False
    wipes: bool = False
    builds: str = ""
    serves: bool = False
    verifies: bool = False
    takes_away: tuple[str, ...] = ()
    cancels: bool = False
    replaces: bool = False
    loses: bool = False
    promotes: bool = False
    shrinks: bool = False

    @property
    def removes(self) -> bool:
        """Whether it takes something away that no later run brings back: plans and records for that have to be vouched for."""
        return bool(self.takes_away) or self.cancels or self.loses or self.replaces or self.promotes

    @property
    def file(self) -> str:
        """The notebook's file name."""
        return f"{self.number}_{self.name}.ipynb"


_MACHINE = ("node", "disk", "kernel", "system")
_CONSUL = ("node", "consul", "swarm", "engine", "disk", "kernel")
_GALERA = ("node", "galera", "swarm", "disk", "kernel", "engine")

#: By number, in the order of the book.
PHASES: Mapping[str, Phase] = MappingProxyType({
    phase.number: phase
    for phase in (
        Phase("00", "start_here", Kind.START, ("start:picture", "start:prerequisites", "start:edit")),
        Phase(
            "01", "provision_instances", Kind.BUILD,
            ("provision:key", "provision:price", "provision:machines", "provision:reach", "provision:preflight"),
            _MACHINE, orders=True,
        ),
        Phase("02", "post_provision", Kind.BUILD, ("post_provision:system", "post_provision:lay_out"), _MACHINE, wipes=True),
        Phase(
            "03", "build_swarm", Kind.BUILD, ("walls:build", "engine:configure", "swarm:form", "swarm:deliver"), ("node", "engine", "disk", "kernel", "swarm"),
            builds="swarm",
        ),
        Phase("04", "deploy_consul", Kind.BUILD, ("consul:deploy", "consul:prove"), _CONSUL, builds="consul"),
        Phase("05", "verify_swarm", Kind.BUILD, ("swarm:nodes_table", "dns:from_containers", "walls:from_outside", "certificates:left"), _CONSUL, verifies=True),
        Phase("06", "create_overlay", Kind.BUILD, ("overlay:create", "overlay:reach"), ("node", "swarm", "engine", "kernel", "disk")),
        Phase("07", "bootstrap_galera", Kind.BUILD, ("galera:bootstrap", "galera:accounts"), _GALERA, builds="galera", serves=True),
        Phase("08", "verify_galera", Kind.BUILD, ("galera:state", "galera:replication", "history:course"), _GALERA, serves=True, verifies=True),
        Phase("09", "use_it", Kind.CARE, ("use:reach", "use:work", "use:prove"), _GALERA),
        Phase("20", "endpoint", Kind.CARE, ("endpoint:elect", "endpoint:deploy", "endpoint:prove"), _GALERA, serves=True),
        Phase("21", "scale", Kind.CARE, ("scale:shrink",), _GALERA, cancels=True, shrinks=True),
        Phase("22", "rolling_change", Kind.CARE, ("rolling:roll",), _GALERA),
        Phase("23", "replace_node", Kind.CARE, ("replacement:discard",), _MACHINE, cancels=True),
        Phase("24", "watch", Kind.CARE, ("watch:admit", "watch:deploy", "watch:prove", "watch:pictures"), _CONSUL),
        Phase("25", "recover", Kind.CARE, ("recovery:positions", "recovery:recover"), _GALERA, serves=True, loses=True),
        Phase("26", "backup", Kind.CARE, ("backup:snapshots", "backup:take", "backup:archive", "backup:prove"), _GALERA),
        Phase("27", "restore", Kind.CARE, ("restore:snapshots", "restore:restore"), _GALERA, replaces=True),
        Phase("28", "standby", Kind.CARE, ("standby:lag", "standby:follow", "standby:take_over"), _GALERA, promotes=True),
        Phase("29", "rotate", Kind.CARE, ("rotation:begin",), ("swarm", "engine", "node")),
        Phase("30", "drill", Kind.CARE, ("drill:parts", "drill:drill"), _GALERA),
        Phase(
            "90", "destroy_swarm", Kind.TAKE_AWAY, ("destroy:doomed", "destroy:destroy"), ("node", "swarm", "engine", "disk", "kernel"),
            takes_away=("03", "04", "05", "06", "07", "08", "20", "24"),
        ),
        Phase(
            "91", "cancel_instances", Kind.TAKE_AWAY, ("provision:doomed", "provision:cancel"), ("node", "disk", "kernel"),
            takes_away=("01", "02", "03", "04", "05", "06", "07", "08", "20", "24"),
        ),
    )
})  # fmt: skip


#: What phase 29 replaces, and which chapters bring it to the nodes; none where 29 does so itself.
ROTATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "engine": ("03",),
    "consul": ("04",),
    "replication": ("07",),
    "database": ("07",),
    "swarm": (),
    "gossip-key": ("04",),
    "consul-tokens": ("04", "07"),
    "password": ("07",),
    "watch-password": ("24",),
    "join-tokens": (),
    "unlock-key": (),
})  # fmt: skip


def rotation_chapters(names: Iterable[str]) -> list[str]:
    """List the numbers of the phases that replace things, and bring them to the nodes.

    Args:
        names: Of :data:`ROTATIONS`.
    """
    return ["29", *sorted({number for name in names for number in ROTATIONS[name]})]


def numbers_of(*kinds: Kind) -> list[str]:
    """List the numbers of the phases of some kinds, in the order of the book."""
    return [phase.number for phase in PHASES.values() if phase.kind in kinds]
