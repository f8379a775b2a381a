"""Phase 23: a machine that is gone for good, or should be, makes room for another one of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.machines.providers import provider_for
from swarmbook.model.change import Action, Change, Todo, Word
from swarmbook.model.checks import Check, equal
from swarmbook.model.health import Role
from swarmbook.params import Params
from swarmbook.phases.galera.members import Member, found_on
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.state import listed

__all__ = ["Others", "discard"]


@dataclass(frozen=True)
class Others:
    """What is left without the machines that are discarded.

    Args:
        parts: Of the machines: node and thing.
        members: Of the other nodes.
        managers: Names of all managers, and whether each is ready.
    """

    parts: tuple[tuple[str, str], ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)
    managers: Mapping[str, bool] = field(default_factory=dict)


class Discard(Step[Others, Params]):
    """Remove the machines of the nodes that are named; 01 to 08 make new ones of the same names.

    Raises:
        UsageError: One is named that is no node.
        WorldError: The others could not do without it: no member Synced, or no majority of the managers ready.
        ConfirmationMissing: The parameter ``confirm`` is not ``CANCEL``.
    """

    name = "discard"

    def hosts(self, book: Book) -> int:
        return len(book.params.replace)

    def observe(self, book: Book) -> Others:
        names = book.params.replace
        strangers = [name for name in names if name not in book.params.nodes]
        if strangers:
            raise UsageError(
                f"there is no node {', '.join(strangers)}",
                where="replace",
                wanted=f"some of {', '.join(book.params.nodes)}",
                next="swarmbook replace PARAMS NODE",
                code=Code.NODE_UNKNOWN,
            )
        if not names:
            return Others()
        stay = [name for name in book.params.nodes if name not in names]
        if not stay:
            return Others(tuple(provider_for(book).parts(names)))
        book.fleet.leave_out(names)  # the others are held while the machines go
        others = book.over(stay)
        try:
            nodes = listed(others, require_swarm(others))
            members = others.fleet.each(
                lambda host: host.ask(found_on(others.params, host.name, port=False)),
                [name for name in book.params.members() if name in others.params.nodes],
            )
        finally:
            others.close()
        managers = {node.name: node.state == "ready" for node in nodes if node.role is Role.MANAGER}
        return Others(tuple(provider_for(book).parts(names)), members, managers)

    def want(self, book: Book, seen: Others) -> Params:
        return book.params

    def plan(self, wanted: Params, seen: Others) -> list[Change]:
        if not seen.parts:
            return []
        if not any(member.synced for member in seen.members.values()):
            raise WorldError(
                f"no member would be left without {', '.join(wanted.replace)}",
                where=", ".join(seen.members) or "the other nodes",
                wanted="a Synced member elsewhere",
                seen="; ".join(f"{name}: {member.state}" for name, member in seen.members.items()) or "none",
                next="swarmbook status PARAMS",
                code=Code.MEMBERS_NOT_SYNCED,
            )
        ready = [name for name, is_ready in seen.managers.items() if is_ready and name not in wanted.replace]
        if len(ready) * 2 <= len(seen.managers):
            raise WorldError(
                f"the swarm would lose its majority without {', '.join(wanted.replace)}",
                where="swarm",
                wanted=f"more than half of {len(seen.managers)} managers ready elsewhere",
                seen=f"ready: {', '.join(ready) or 'none'}",
                next="replace fewer at once, or bring the others back first: swarmbook status PARAMS",
            )
        return [Change(name, Action.REMOVE, (thing,), Word.CANCEL) for name, thing in seen.parts]

    def apply(self, book: Book, wanted: Params, seen: Others, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            provider_for(book).remove(sorted({change.host for change in todo.take(Action.REMOVE)}))

    def verify(self, wanted: Params, seen: Others) -> list[Check]:
        left = {name: [thing for node, thing in seen.parts if node == name] for name in wanted.replace}
        return [
            equal(name, "what is left of its machine", "nothing", ", ".join(things) or "nothing")
            for name, things in left.items()
        ]

    def forecast(self, ahead: Forecast, seen: Others, changes: list[Change]) -> None:
        ahead.absent |= {change.host for change in changes}


discard = Discard()
