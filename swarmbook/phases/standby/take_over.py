"""Phase 28, last step: the standby takes the writes, in the place of the cluster that it follows."""

from __future__ import annotations

from dataclasses import dataclass

from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, SwarmbookError, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo, Word
from swarmbook.model.checks import Check
from swarmbook.model.gtids import number_in
from swarmbook.params import Params
from swarmbook.phases.standby.member import Row
from swarmbook.phases.standby.pair import Pair, Side, away, look_at, put_row, side_of
from swarmbook.phases.support.members import member_name
from swarmbook.phases.support.source import gtid_number

__all__ = ["take_over"]

#: Seconds by which a standby may be behind when it is to take over: its source takes no writes for as long.
BEHIND_S = 30


@dataclass(frozen=True)
class Wanted:
    """Whether it is to take over, and how; and who is to wait for it: ``CLUSTER/DATABASE`` of the standby."""

    params: Params
    how: str
    owner: str


class TakeOver(Step[Pair, Wanted]):
    """Make the standby the cluster that takes the writes; its source is fenced first, or given up.

    Raises:
        OutOfOrder: It follows no one.
        WorldError: Its source still takes writes and is to be given up, or does not answer and is to be fenced; or it is too far behind.
        ConfirmationMissing: ``confirm`` is not ``PROMOTE``.
        WaitTimeout: What the source has committed does not arrive; then the source takes writes again.
    """

    name = "take over"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Pair:
        return look_at(book)

    def want(self, book: Book, seen: Pair) -> Wanted:
        return Wanted(book.params, book.params.takeover, f"{book.cluster.name}/{book.params.mariadb_cluster_name}")

    def plan(self, wanted: Wanted, seen: Pair) -> list[Change]:
        if wanted.how == "no" or (seen.row is not None and not seen.row.wanted):
            return []
        source = seen.source.owner
        # One that was fenced for a takeover that did not come about, since the other one was lost then, takes its place back.
        if seen.row is None or not (seen.row.follows or wanted.how == "lost"):
            raise OutOfOrder(
                f"this cluster does not follow {source}, so it cannot take its place",
                where=f"cluster {wanted.params.cluster}",
                wanted=f"a standby of {source}",
                seen=f"the place of a writer: {seen.here.holder(wanted.params) or 'held by no one'}",
                next="swarmbook standby PARAMS",
            )
        changes = []
        if wanted.how == "switch":
            _require_close(wanted, seen)
            assert seen.there is not None
            if not _waits_for(seen.there, wanted.owner):
                changes.append(Change("cluster", Action.FENCE_SOURCE, (source,)))
            because = "nothing is lost"
        else:
            if seen.there is not None and seen.there.open:
                raise WorldError(
                    f"{source} takes writes: it is not lost",
                    where=", ".join(seen.there.open),
                    wanted="no member that takes writes",
                    seen=f"open on {', '.join(seen.there.open)}",
                    next="swarmbook standby PARAMS --take-over switch",
                    code=Code.STANDBY_LAGS,
                )
            because = (
                f"what it has committed behind transaction {seen.arrived} is lost, as far as it has not arrived yet"
            )
        return [*changes, Change("cluster", Action.TAKE_OVER, (source, wanted.how), Word.PROMOTE, because)]

    def apply(self, book: Book, wanted: Wanted, seen: Pair, changes: list[Change]) -> None:
        source, row = seen.source, seen.row
        assert row is not None
        with Todo(changes) as todo:
            fences = todo.take(Action.FENCE_SOURCE)
            for change in todo.take(Action.TAKE_OVER):
                if change.things[1] == "switch":
                    _switch(book, seen, wanted, bool(fences))
                else:
                    _arrived(book, source.domain, 0, wanted)
                put_row(book, seen.here, Row(row.source, row.hosts, row.login, row.start, wanted=False))

        def done() -> tuple[bool, str]:
            here, _ = side_of(book, gtid_number(book.params))
            return len(here.open) == 1, f"open: {', '.join(here.open) or 'none'}"

        wait_for(
            "one member of the standby takes writes",
            done,
            timeout_s=book.params.wait_timeout,
            where=f"cluster {book.cluster.name}",
            next="swarmbook status PARAMS; then the same command: it goes on from here",
            first_s=0.1,
        )

    def verify(self, wanted: Wanted, seen: Pair) -> list[Check]:
        here, row = seen.here, seen.row
        if row is None or row.wanted:
            return [
                Check("cluster", "takes writes", "no: it is a standby", "no" if not here.open else "yes", not here.open)
            ]
        holder = here.holder(wanted.params)
        one = [holder] == here.open
        opened = ", ".join(member_name(wanted.params, node) for node in here.open) or "none"
        rows = [Check("cluster", "takes writes", "the writer alone", opened, one)]
        there = seen.there
        if there is None:
            rows.append(Check("cluster", f"{seen.source.owner} takes writes", "no", "does not answer", True))
        else:
            # One that is lost, and comes back, does not know that it was: said here, and each time that this is looked at.
            rows.append(
                Check(
                    "cluster", f"{seen.source.owner} takes writes", "no", ", ".join(there.open) or "no", not there.open
                )
            )
        return rows


take_over = TakeOver()


def _waits_for(there: Side, owner: str) -> bool:
    """Tell whether the source is fenced for this standby already."""
    row = there.row
    return row is not None and row.wanted and row.source == owner


def _require_close(wanted: Wanted, seen: Pair) -> None:
    """Refuse to fence a source that this standby could not soon stand in for."""
    source, there, here = seen.source.owner, seen.there, seen.here
    if there is None:
        raise WorldError(
            f"{source} does not answer, so it cannot be fenced",
            where=f"cluster {seen.source.params.cluster}",
            wanted="a cluster that serves",
            seen=seen.why,
            next="bring it back; or, where it is gone: swarmbook standby PARAMS --take-over lost",
            code=Code.STANDBY_CANNOT_READ,
        )
    holder = here.holder(wanted.params)
    replica = here.says[holder].replica if holder in here.says else None
    if replica is None or replica.state != "runs" or (replica.seconds or 0) > BEHIND_S:
        seconds = "" if replica is None or replica.seconds is None else f", {replica.seconds} s behind"
        raise WorldError(
            f"the standby is not close enough behind {source}, which would take no writes until it is; nothing was changed",
            where=holder or ", ".join(here.members),
            wanted=f"a replica that runs, at most {BEHIND_S} s behind",
            seen=(replica.state + seconds + (f": {replica.error}" if replica.error else ""))
            if replica
            else "no replica",
            next="swarmbook explain standby-lags",
            code=Code.STANDBY_LAGS,
        )


def _switch(book: Book, seen: Pair, wanted: Wanted, fences: bool) -> None:
    """Fence the source, and wait for all that it has committed; where that does not come, it takes writes again."""
    assert seen.there is not None
    with away(book, seen.source) as other, other.cluster.lock(f"{book.phase}: {wanted.owner} takes over"):
        try:
            if fences:
                # What this cluster has written until now is its own affair: the other one, as its standby, begins behind that.
                own = gtid_number(book.params)
                put_row(other, seen.there, Row(wanted.owner, start=f"{own}-{own}-{seen.here.own}"))
            last = _fenced(other, seen)
            _arrived(book, seen.source.domain, last, wanted)
        except (SwarmbookError, KeyboardInterrupt):
            put_row(other, seen.there, Row(wanted.owner, wanted=False))
            raise


def _fenced(other: Book, seen: Pair) -> int:
    """Wait until no member of the source takes writes; return the number of its last transaction."""

    def done() -> tuple[bool, str | int]:
        there, why = side_of(other, seen.source.domain)
        if there.open or not there.members:
            return False, f"open: {', '.join(there.open)}; {why}"
        return True, there.own

    last = wait_for(
        f"{seen.source.owner} takes no writes",
        done,
        timeout_s=other.params.wait_timeout,
        where=f"cluster {seen.source.params.cluster}",
        next=f"swarmbook status {typed(seen.source.file)}",
        first_s=0.1,
    )
    return int(last)


def _arrived(book: Book, domain: int, last: int, wanted: Wanted) -> None:
    """Wait until a number is here, and all that was received is applied."""

    def done() -> tuple[bool, str]:
        here, _ = side_of(book, gtid_number(book.params))
        holder = here.says.get(here.holder(wanted.params))
        received = (
            number_in(holder.replica.received, domain) if holder is not None and holder.replica is not None else 0
        )
        has, goal = number_in(here.has, domain), max(last, received)
        return has >= goal, f"transaction {has} of {goal}"

    wait_for(
        "what the source has committed is here",
        done,
        timeout_s=book.params.wait_timeout,
        where=f"cluster {book.cluster.name}",
        next="swarmbook explain standby-lags",
        code=Code.STANDBY_LAGS,
        first_s=0.1,
    )
