"""Phase 25: none serves, so it is decided who goes on; that one is bootstrapped once, and the others join it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import sh
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, UsageError, WaitTimeout, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, Todo, Word
from swarmbook.model.checks import Check, Table, equal
from swarmbook.phases.recovery.standing import known_positions, look_around, standing_on
from swarmbook.phases.recovery.verdict import Position, Standing, Verdict, decide, loss_of, overrule
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import of_service, service_name
from swarmbook.phases.support.positions import keep_positions
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["positions", "recover"]

#: Seconds in which a server that is made primary, or joins, may be taken for one that comes along by itself.
_COMES_ALONG_S = 20


@dataclass(frozen=True)
class Outage:
    """The members after an outage.

    Args:
        members: Where each stands, by node.
        known: The last position of each that was recorded while it served.
    """

    members: Mapping[str, Standing]
    known: Mapping[str, Position] = field(default_factory=dict)


def in_words(member: Standing) -> str:
    """Say where a member stands."""
    if not member.reached:
        return "its node does not answer" + (f": {member.silence}" if member.silence else "")
    if member.serves:
        return f"serves, at {member.position}"
    if not member.data:
        return "holds no data"
    if member.broken_off:
        return "a state transfer into it has not ended"
    how = (
        "its server runs, not Primary"
        if member.survives
        else "stopped cleanly"
        if member.clean
        else "did not stop cleanly"
    )
    more = ", the last to stop" if member.safe else f", last view: {member.view} members" if member.view else ""
    return f"{member.position or 'position unknown'}; {how}{more}"


@look(hosts=lambda book: len(book.params.members()))
def positions(book: Book) -> Table:
    """Ask every member where it stands; nothing is touched."""
    known = known_positions(book)
    return Table(
        ["node", "where its member stands", "when it last served"],
        [
            [name, in_words(member), str(known.get(name, "not recorded"))]
            for name, member in look_around(book, 0).items()
        ],
    )


class Recover(Step[Outage, Verdict]):
    """Let the right member go on, and the others join it.

    Raises:
        WorldError: Who is the right one must not be guessed; carries all positions, and what a person can do.
        UsageError: The member that was named by hand is none, or holds nothing.
        ConfirmationMissing: The member that was named by hand lacks transactions, and ``confirm`` does not count them.
    """

    name = "recovery"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Outage:
        require_swarm(book)
        return Outage(look_around(book), known_positions(book))

    def want(self, book: Book, seen: Outage) -> Verdict:
        named = book.params.recover_member
        if not named:
            return decide(seen.members, seen.known)
        if named not in seen.members:
            raise UsageError(
                f"{named} carries no member",
                where="recover_member",
                wanted=f"one of {', '.join(seen.members)}",
                next="swarmbook recover PARAMS --member NODE",
                code=Code.NODE_UNKNOWN,
            )
        return overrule(seen.members, seen.known, named)

    def plan(self, wanted: Verdict, seen: Outage) -> list[Change]:
        if wanted.refused:
            raise _refusal(wanted, seen)
        if not wanted.chosen:
            if not any(member.serves for member in seen.members.values()):
                return []
            # An earlier run may have decided, and been ended: others are on their way.
            late = [name for name, member in seen.members.items() if member.data and not member.serves]
            return [Change(name, Action.AWAIT_MEMBER) for name in late]
        chosen = seen.members[wanted.chosen]
        lost = (
            ""
            if wanted.loss is None
            else "UNKNOWN"
            if wanted.loss.transactions is None
            else str(wanted.loss.transactions)
        )
        changes = [
            Change(
                wanted.chosen,
                Action.RECOVER,
                (str(chosen.position), "living" if wanted.living else "stopped", *([lost] if lost else [])),
                Word.LOSE if lost else None,
                wanted.why,
            )
        ]
        changes += [
            Change(name, Action.REJOIN, ("all" if lacks is None else str(lacks),))
            for name, lacks in wanted.behind.items()
        ]
        return changes

    def apply(self, book: Book, wanted: Verdict, seen: Outage, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            for change in todo.take(Action.RECOVER):
                if change.things[1] == "living":
                    _tell_primary(book, change.host)
                else:
                    _mark(book, change.host, change.things[0])
            late = [*todo.take(Action.REJOIN), *todo.take(Action.AWAIT_MEMBER)]
            _rejoin(book, [change.host for change in late], wanted.stuck)
        keep_positions(book.cluster, book.params.mariadb_cluster_name, _served(look_around(book, 0)))

    def verify(self, wanted: Verdict, seen: Outage) -> list[Check]:
        serving = {name: member for name, member in seen.members.items() if member.serves}
        uuids = {member.position.uuid for member in serving.values() if member.position}
        rows = [
            equal(name, "its member", "serves", in_words(member).partition(",")[0])
            if member.reached
            else Check(name, "its member", "joins when its node is back", in_words(member), True)
            for name, member in seen.members.items()
        ]
        return [*rows, Check("cluster", "histories", "one", str(len(uuids)), len(uuids) == 1)] if serving else rows


recover = Recover()


def _refusal(wanted: Verdict, seen: Outage) -> WorldError:
    """Build the error for a decision that must not be guessed: everything that a person needs to make it."""
    choices = [
        f"{name} would lose {loss}: {loss.why}"
        for name, member in seen.members.items()
        if member.data and not member.broken_off and member.position is not None
        for loss in [loss_of(seen.members, seen.known, name)]
    ]
    return WorldError(
        f"who goes on must not be guessed: {'; '.join(wanted.refused)}",
        where=", ".join(seen.members),
        wanted="all members with one history, each with its position, and none that serves",
        seen="\n".join([*(f"{name}: {in_words(member)}" for name, member in seen.members.items()), *choices]),
        next="bring back what is missing, and run it again; or name the member that goes on all the same, and what is lost "
        "with it: swarmbook recover PARAMS --member NODE",
        code=Code.RECOVERY_UNDECIDED,
    )


def _tell_primary(book: Book, name: str) -> None:
    """Tell a server that runs, and is in no component, that its component is the primary one."""
    # MariaDB 11.4 and newer have a variable for each of the provider's options, and refuse to set them all in one.
    book.fleet[name].run(
        sh(
            "c=$(@!{running} -q | head -n 1); docker exec $c mariadb -u root -e 'SET GLOBAL wsrep_provider_pc_bootstrap = ON' "
            "|| docker exec $c mariadb -u root -e \"SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'\"",
            running=of_service(service_name(book.params, name)),
        )
    )
    _serves(book, [name])


def _mark(book: Book, name: str, position: str) -> None:
    """Put the mark by which a member that waits goes on; it holds for this position, and for as long as we wait."""
    host, params = book.fleet[name], book.params
    folder = data_folder(params)
    host.run(
        sh(
            "cd @{folder} && echo @{position} $(($(date +%s) + @{limit})) > recover.new && sync recover.new && mv -T recover.new recover",
            folder=folder,
            position=position,
            limit=params.wait_timeout,
        )
    )
    try:
        _serves(book, [name])
    except SwarmbookError:
        host.run(sh("rm -f @{mark}", mark=f"{folder}/recover"), check=False)
        raise


def _rejoin(book: Book, names: list[str], stuck: tuple[str, ...]) -> None:
    """Wait until the others serve; one whose server stays outside starts again, and asks for the way in."""
    if stuck:
        try:
            _serves(book, list(stuck), _COMES_ALONG_S)
        except WaitTimeout:
            manager = book.fleet[require_swarm(book)]
            late = [name for name in stuck if not book.fleet[name].ask(standing_on(book.params, name)).serves]
            for name in late:
                service = service_name(book.params, name)
                manager.run(sh("docker service update --force --detach @{service} >/dev/null", service=service))
    _serves(book, names)


def _serves(book: Book, names: list[str], limit_s: float | None = None) -> None:
    if not names:
        return

    def looked() -> tuple[bool, str]:
        seen = book.fleet.each(lambda host: host.ask(standing_on(book.params, host.name), quiet=True), names)
        late = [f"{name}: {in_words(member)}" for name, member in seen.items() if not member.serves]
        return not late, "; ".join(late)

    wait_for(
        f"{subject(names, 'serves', 'serve')}",
        looked,
        timeout_s=limit_s or book.params.wait_timeout,
        where=", ".join(names),
        next=f"swarmbook ssh {names[0]} docker service logs --tail 40 {service_name(book.params, names[0])}",
        first_s=0.3,
    )


def _served(members: Mapping[str, Standing]) -> dict[str, tuple[str, int]]:
    return {
        name: (member.position.uuid, member.position.seqno)
        for name, member in members.items()
        if member.serves and member.position is not None
    }
