"""The faults: what each is, how it is done, and what a person is to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from swarmbook.phases.drill.stage import Stage
from swarmbook.phases.endpoint.switch import switch_writer

__all__ = ["FAULTS", "NOT_HERE", "Fault"]


@dataclass(frozen=True)
class Fault:
    """Something that happens to a cluster.

    Args:
        what: In words, as a heading.
        act: Makes it happen, and ends what does not end by itself; returns the nodes that it hit.
        seconds: For how long the application works.
        seen: What an operator and an application see.
        book: What the cluster does by itself.
        you: What a person does.
        wanted_s: The longest time without a commit that is wanted; None where none is stated.
    """

    what: str
    act: Callable[[Stage], Iterable[str]]
    seconds: float
    seen: str
    book: str
    you: str = "Nothing."
    wanted_s: float | None = None


def _switch(stage: Stage) -> list[str]:
    switch_writer(stage.book, stage.other)
    return []


def _to_writer(verb: str, stage: Stage) -> list[str]:
    stage.member(verb, stage.writer)
    return [stage.writer]


def _to_other(verb: str, stage: Stage) -> list[str]:
    stage.member(verb, stage.other)
    return [stage.other]


def _pause(stage: Stage) -> list[str]:
    stage.member("pause", stage.writer)
    try:
        stage.rest(8)
    finally:
        stage.member("unpause", stage.writer)
    return [stage.writer]


def _two(stage: Stage) -> list[str]:
    stage.member("kill", stage.writer)
    stage.member("kill", stage.other)
    return [stage.writer, stage.other]


def _all(stage: Stage) -> list[str]:
    for node in stage.nodes:
        stage.member("kill", node)
    return stage.nodes


def _machine(stage: Stage) -> list[str]:
    stage.power_off(stage.writer)
    try:
        stage.rest(20)
    finally:
        stage.power_on(stage.writer)
    return [stage.writer]


def _power(stage: Stage) -> list[str]:
    back = stage.rng.sample(stage.book.params.nodes, len(stage.book.params.nodes))
    try:
        stage.power_off(*back)
    finally:
        stage.power_on(*back)
    return stage.nodes


def _cut(stage: Stage, seconds: float = 15, inwards: bool = True, outwards: bool = True) -> list[str]:
    with stage.cut(stage.writer, inwards=inwards, outwards=outwards):
        stage.rest(seconds)
    return [stage.writer]


def _flap(stage: Stage) -> list[str]:
    for _ in range(5):
        with stage.cut(stage.writer):
            stage.rest(stage.rng.uniform(0.3, 3))
        stage.rest(stage.rng.uniform(0.3, 3))
    return [stage.writer]


def _leader(stage: Stage) -> list[str]:
    stage.engine_killed(stage.leader)
    return [stage.leader]


def _consul(stage: Stage) -> list[str]:
    for node in stage.book.params.nodes:
        stage.consul_killed(node)
    return []


def _disk(stage: Stage) -> list[str]:
    with stage.full(stage.writer):
        stage.rest(15)
    return [stage.writer]


def _joiner(stage: Stage) -> list[str]:
    stage.emptied(stage.other)
    stage.transfer_begun(stage.other)
    stage.rest(stage.rng.uniform(0, 2))
    stage.member("kill", stage.other)
    return [stage.other]


def _donor(stage: Stage) -> list[str]:
    stage.emptied(stage.other)
    donor = stage.donor()
    stage.member("kill", donor)
    return [stage.other, donor]


def _schema(stage: Stage) -> list[str]:
    stage.sql(
        stage.writer,
        "CREATE TABLE swarmbook_drill (id INT PRIMARY KEY, word CHAR(100)) SELECT seq AS id, 'drill' AS word FROM seq_1_to_200000",
    )
    try:
        stage.sql(stage.writer, "ALTER TABLE swarmbook_drill ADD COLUMN more INT DEFAULT 1, ALGORITHM=COPY")
    finally:
        stage.sql(stage.writer, "DROP TABLE swarmbook_drill")
    return []


def _big(stage: Stage) -> list[str]:
    stage.sql(stage.writer, "CREATE TABLE swarmbook_drill (id INT PRIMARY KEY, word CHAR(100))")
    insert = "INSERT INTO swarmbook_drill SELECT seq, repeat('x', 100) FROM seq_1_to_1500000"
    stage.meanwhile(stage.writer, insert)
    stage.rest(stage.rng.uniform(1, 6))
    stage.member("kill", stage.writer)
    stage.sql_at_last(stage.third, "DROP TABLE swarmbook_drill")
    return [stage.writer]


#: By name, in the order in which they are done.
FAULTS: Mapping[str, Fault] = {
    "switch": Fault(
        "The writer hands over", _switch, 20,
        "Writes wait for less than half a second; connections to the writer are closed and come again at the next one.",
        "`swarmbook switch-writer` lets the other member catch up first, then moves the writer's row to it.",
        wanted_s=0.5,
    ),
    "stop": Fault(
        "The writer's container stops cleanly", partial(_to_writer, "stop"), 40,
        "Writes wait until another member is the writer.",
        "Another member becomes the writer; the swarm starts the stopped one again, and it catches up by IST.",
    ),
    "kill": Fault(
        "The writer's container is killed", partial(_to_writer, "kill"), 40,
        "Writes wait; a COMMIT that was under way may have been done or not.",
        "Another member becomes the writer; the swarm starts the killed one again, and it catches up by IST.",
        wanted_s=2.5,
    ),
    "kill-reader": Fault(
        "A member that is not the writer is killed", partial(_to_other, "kill"), 30,
        "Writes wait until the others have noticed; readers at that member connect again.",
        "The swarm starts it again, and it catches up by IST.",
    ),
    "pause": Fault(
        "The writer stands still for 8 s", _pause, 50,
        "As when it is killed. When it goes on, it finds that the others went on without it, and takes no writes.",
        "The others leave it out after the time that `evs.suspect_timeout` gives, and one becomes the writer; it joins again.",
    ),
    "two": Fault(
        "Two of three members are killed, the writer among them", _two, 60,
        "Nothing can be written or read until one of them is back: the third one alone has no majority.",
        "The two come back, and the component is made again by what each member has kept of its last view.",
        "Nothing. If they cannot come back: `swarmbook recover`.",
    ),
    "all": Fault(
        "All members are killed", _all, 80,
        "No database, until all are back.",
        "They wait for each other by name, and go on from the last view that they had together.",
        "Nothing. If one cannot come back: `swarmbook recover`.",
    ),
    "machine": Fault(
        "The writer's machine loses its power for 20 s", _machine, 80,
        "Writes wait until another member is the writer. What went by way of that machine connects by another one.",
        "Another member becomes the writer. When the machine is back, its member joins by IST.",
        wanted_s=8.0,
    ),
    "power": Fault(
        "All machines lose their power, and come back in any order", _power, 140,
        "Nothing answers until the machines are back.",
        "Engines, swarm and Consul start; the members wait for each other by name, and go on from their last view.",
        "Nothing. If a machine stays away: `swarmbook recover`.",
    ),
    "cut": Fault(
        "The writer's machine is cut off for 15 s", _cut, 110,
        "Applications on the other side wait until there is another writer; on its own side it takes no writes, since it is alone.",
        "The majority goes on. The swarm starts what ran on the lost machine again when it is back; its member joins by IST.",
    ),
    "deaf": Fault(
        "The writer's machine sends, and hears nothing, for 15 s", partial(_cut, outwards=False), 110,
        "As when it is cut off.",
        "The majority leaves it out, though its messages arrive.",
    ),
    "mute": Fault(
        "The writer's machine hears, and cannot send, for 15 s", partial(_cut, inwards=False), 110,
        "As when it is cut off.",
        "The majority goes on without it.",
    ),
    "flap": Fault(
        "The cable of the writer's machine is loose: five cuts of up to 3 s", _flap, 110,
        "Writes wait again and again; the writer may change.",
        "What is shorter than the time that a member may be silent is ridden out; what is longer, the majority decides.",
        "Replace the cable.",
    ),
    "leader": Fault(
        "The engine of the swarm's leader is killed", _leader, 60,
        "The containers on that machine go with their engine; if the writer was there, writes wait as when it is killed.",
        "The managers elect another leader; systemd starts the engine, and the swarm what ran there.",
    ),
    "consul": Fault(
        "All servers of Consul are killed", _consul, 40,
        "Names are not registered or resolved by Consul for some seconds. The database goes on: its members and the endpoint do not need Consul.",
        "The swarm starts them again, and they elect a leader from what they have on their disks.",
    ),
    "disk": Fault(
        "The disk of the writer's data is full for 15 s", _disk, 60,
        "Statements that need room fail or wait; the writer may leave the cluster.",
        "A member that cannot write stops rather than fall behind; another becomes the writer.",
        "Make room: `swarmbook alerts` has warned of it if 24_watch is there.",
    ),
    "joiner": Fault(
        "A joiner is killed while it is sent all data", _joiner, 80,
        "Nothing, but for its member, which takes longer to come.",
        "The half that it was sent is thrown away; it asks again, and is sent all of it.",
    ),
    "donor": Fault(
        "A donor is killed while it gives its data", _donor, 100,
        "As when that member is killed.",
        "The joiner throws away what it has, and asks another donor.",
    ),
    "schema": Fault(
        "A table of 200,000 rows is changed under load", _schema, 40,
        "Writes wait for as long as the change takes: Galera does it on all members at once (total order isolation).",
        "Nothing is lost.",
        "For a large table, use a tool that changes it in small steps, pt-online-schema-change say.",
    ),
    "big": Fault(
        "The writer is killed in a transaction of 1.5 million rows", _big, 80,
        "As when it is killed.",
        "The transaction was not acknowledged and is rolled back; the next one that comes to the writer goes on.",
        "Send large changes in parts.",
    ),
}  # fmt: skip

#: What cannot be had on machines that are containers, and why.
NOT_HERE: Mapping[str, str] = {
    "A clock jumps": "The machines of a lab share the clock of this computer.",
    "A certificate runs out": "Days pass no faster here. `swarmbook status` and 05 say how many are left, and 29 renews them.",
    "A disk forgets what was not synced": "The disks of a lab are files of this computer, which goes on when a machine is killed.",
}
