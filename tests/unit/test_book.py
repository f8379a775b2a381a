"""One step: observe, plan, apply what differs under the lock, observe again, verify."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import CheckFailed, LockHeld, WorldError
from swarmbook.base.secrets import MASK, mask, register
from swarmbook.book.book import Book
from swarmbook.book.result import StepResult
from swarmbook.book.step import look
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.results import Counts
from swarmbook.model.step_output import STEP_MIME
from swarmbook.params import Params

from .steps import made_step


class Phase:
    """A world that counts up to what is wanted, and notes the verbs in their order."""

    def __init__(self, book: Book, at: int, *, stuck: bool = False) -> None:
        self.book, self.at, self.stuck = book, at, stuck
        self.calls: list[str] = []

    def observe(self, book: Book) -> int:
        self.calls.append("observe")
        return self.at

    def plan(self, wanted: Params, seen: int) -> list[Change]:
        self.calls.append("plan")
        return [Change("sw1", Action.LABEL, (f"to {n}",)) for n in range(seen + 1, 4)]

    def apply(self, book: Book, wanted: Params, seen: int, changes: list[Change]) -> None:
        self.calls.append("apply")
        with pytest.raises(LockHeld), Cluster(book.cluster.name).lock("another run"):
            pass
        book.transcript.record("sw1", "count", 0, 0.1)
        self.at = seen if self.stuck else seen + len(changes)

    def verify(self, wanted: Params, seen: int) -> list[Check]:
        self.calls.append("verify")
        return [equal("sw1", "count", 3, seen)]

    def step(self) -> StepResult:
        return made_step("counting", observe=self.observe, plan=self.plan, apply=self.apply, verify=self.verify)(
            self.book
        )


@pytest.fixture
def book() -> Iterator[Book]:
    book = Book("02", Params())
    yield book
    book.close()


def test_what_differs_is_applied_and_read_again(book: Book) -> None:
    phase = Phase(book, at=1)
    result = phase.step()
    assert phase.calls == ["observe", "plan", "apply", "observe", "verify"]
    assert result.output().counts == Counts(hosts=3, changes=2, checks=1)
    assert result.summary() == "2 changed: node label to 2 (sw1); node label to 3 (sw1)."
    assert [command.text for command in result.commands] == ["count"]


def test_a_second_time_reads_once_and_changes_nothing(book: Book) -> None:
    Phase(book, at=0).step()
    phase = Phase(book, at=3)
    result = phase.step()
    assert phase.calls == ["observe", "plan", "verify"]
    assert (result.changes, result.summary(), result.commands) == ((), "Nothing to change.", ())


def test_a_second_time_needs_no_lock(book: Book) -> None:
    with Cluster("lab").lock("another run"):
        assert Phase(book, at=3).step().changes == ()
        phase = Phase(book, at=2)
        with pytest.raises(LockHeld):
            phase.step()
    assert phase.calls == ["observe", "plan"]


def test_what_is_still_not_as_wanted_fails_the_step(book: Book) -> None:
    with pytest.raises(CheckFailed, match="the check failed") as caught:
        Phase(book, at=1, stuck=True).step()
    assert "sw1: count: wanted 3, seen 1" in str(caught.value)
    assert "swarmbook run PARAMS --from 02" in str(caught.value)


def test_the_lock_is_given_back_when_applying_fails(book: Book) -> None:
    def broken(book: Book, wanted: Params, seen: int, changes: list[Change]) -> None:
        raise WorldError("broken")

    phase = Phase(book, at=1)
    phase.apply = broken  # type: ignore[method-assign]
    with pytest.raises(WorldError, match="broken"):
        phase.step()
    with Cluster("lab").lock("another run"):
        pass


def test_looking(book: Book) -> None:
    result = look(hosts=0)(lambda book: Table(["a"], [["b"]]))(book)
    assert result.output().counts == Counts()
    with pytest.raises(CheckFailed):
        look()(lambda book: [equal("sw1", "x", 1, 2)])(book)
    tried = look(traces="a row of its own")(lambda book: [])(book)
    assert tried.summary() == "Tried out; a row of its own was removed again."


def test_a_result_shows_itself_without_secrets(book: Book) -> None:
    register("s3cr3t-value")
    book.transcript.record("sw1", "echo s3cr3t-value", 0, 0.1)
    result = StepResult(
        (Change("sw1", Action.REMOVE, ("s3cr3t-value <b>",)),),
        Table(["t"], [["s3cr3t-value"]]),
        book.transcript.since(0),
        3,
        0.5,
    )
    shown = result._repr_mimebundle_()
    assert "s3cr3t" not in str(shown)
    assert MASK in shown["text/plain"]
    assert "&lt;b&gt;" in shown["text/html"]
    assert "<details>" in shown["text/html"]
    data = json.loads(json.dumps(shown[STEP_MIME]))
    assert data["format"] == 2 and (data["hosts"], len(data["changes"]), data["checks"], data["failed"]) == (
        3,
        1,
        [],
        0,
    )
    assert data["table"] == {"columns": ["t"], "rows": [[MASK]]} and data["summary"] == mask(result.summary())
    assert data["commands"][0]["text"] == f"echo {MASK}"
