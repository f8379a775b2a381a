"""Another member becomes the writer, by command: the present one is asked to hand over."""

from __future__ import annotations

import time
from dataclasses import dataclass

from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.endpoint.agents import ask_agents, writer_among
from swarmbook.phases.endpoint.election import statement
from swarmbook.phases.support.members import member_name

__all__ = ["Switched", "switch_writer"]

#: Seconds after which an agent's word is surely younger than the wish: a look is at most a second old.
_KNOWN_S = 2.0


@dataclass(frozen=True)
class Switched:
    """What became of it.

    Args:
        before: Node of the writer before; nothing where there was none.
        after: Node of the writer now.
        seconds: From the word to the new writer's own; 0 where it was the writer already.
    """

    before: str
    after: str
    seconds: float


def switch_writer(book: Book, node: str) -> Switched:
    """Have the writer hand over to the member on a node.

    Args:
        book: The open book.
        node: The node's name.

    Raises:
        UsageError: There is no member on that node.
        OutOfOrder: There is no election.
        WorldError: The member is not Synced, or does not stay so, or there is no writer that could hand over.
        WaitTimeout: It does not hand over.
    """
    params = book.params
    if node not in params.members():
        raise UsageError(
            f"no member on {node}",
            where="NODE",
            wanted=f"one of {', '.join(params.members())}",
            seen=node,
            next="swarmbook status PARAMS",
            code=Code.NODE_UNKNOWN,
        )
    says = ask_agents(book, all_of_them=False)
    if not any(one.term for one in says.values()):
        raise OutOfOrder(
            "run 20 first: there is no election, and every member takes writes",
            where=f"cluster {book.cluster.name}",
            next="swarmbook run PARAMS --only 20",
        )
    follows = next((one.follows for one in says.values() if one.follows), "")
    if follows:
        raise WorldError(
            f"this cluster follows {follows}, so no member takes writes",
            where=f"cluster {book.cluster.name}",
            wanted="a cluster that takes writes",
            seen=f"a standby of {follows}",
            next="to have it take the writes: swarmbook standby PARAMS --take-over switch",
            code=Code.NO_WRITER,
        )
    before = writer_among(params, says)
    if before == node and says[node].writer:
        return Switched(before, node, 0.0)
    if node not in says or not says[node].reader:
        raise WorldError(
            f"the member on {node} is not Synced; the writer was not asked to hand over",
            where=node,
            wanted="Synced, in the primary component",
            seen=says[node].state if node in says else "no answer",
            next="wait until it is (swarmbook status PARAMS), or name another one",
            code=Code.WRITER_NOT_SYNCED,
        )
    if not before or not says[before].writer:
        raise WorldError(
            "there is no writer just now that could hand over",
            where=", ".join(says),
            wanted="a writer; when one is lost, the others choose another one within seconds",
            seen="; ".join(
                f"{name}: {says[name].role}, {says[name].state}, term {says[name].term}"
                if name in says
                else f"{name}: its agent does not answer"
                for name in params.members()
            ),
            next="swarmbook status PARAMS, and then again",
            code=Code.NO_WRITER,
        )
    sql = (  # names of parameters, which hold no quote
        f"UPDATE swarmbook.writer SET asked = '{member_name(params, node)}' WHERE id = 1 AND term = {says[before].term}"  # noqa: S608
    )
    started = time.monotonic()
    book.fleet[before].run(statement(says[before].container, sql))
    wished = time.monotonic()

    def done() -> tuple[bool, str]:
        asked = time.monotonic()
        now = ask_agents(book, all_of_them=False)
        seen = "; ".join(f"{name}: {one.role}, {one.state}, term {one.term}" for name, one in now.items())
        other = next((name for name, one in now.items() if one.writer and one.term > says[before].term), node)
        if other != node:  # it had its turn and lost it again between two looks, or could not take it
            raise WorldError(
                f"the member on {other} is the writer by now",
                where=f"{before}, {node}",
                wanted=f"the member on {node}",
                seen=seen,
                next=f"swarmbook logs PARAMS {node} says why it did not stay; then the same command again",
            )
        held = now.get(before)
        dropped = held is not None and held.writer and held.asked == ""
        if dropped and asked - wished > _KNOWN_S:
            raise WorldError(
                f"the writer did not hand over: the member on {node} did not stay Synced",
                where=f"{before}, {node}",
                wanted=f"the member on {node} Synced, and its agent within reach of the writer",
                seen=seen,
                next=f"swarmbook logs PARAMS {before} {node}; then the same command again",
                code=Code.WRITER_NOT_SYNCED,
            )
        return node in now and now[node].writer, seen

    wait_for(
        f"the member on {node} is the writer",
        done,
        timeout_s=params.wait_timeout,
        where=f"{before}, {node}",
        next=f"swarmbook logs PARAMS {before} {node}",
        first_s=0.05,
    )
    return Switched(before, node, time.monotonic() - started)
