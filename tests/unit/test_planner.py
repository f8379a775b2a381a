"""Making a plan: steps that are asked and do nothing, a cluster's folder that stays as it is, and a whole book planned from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Node
from swarmbook.access.pki import Purpose, Use
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.errors import ConfirmationMissing, OutOfOrder, PlanMismatch, UsageError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast, PlannedBook, foresee
from swarmbook.book.step import Step
from swarmbook.model.change import NEW_NODE, Action, Change, Word
from swarmbook.model.plan import Plan, PlannedStep
from swarmbook.params import Params
from swarmbook.show.changes import plan_text, sentence

from .steps import MAKE, made_step

NOTHING = Path(__file__).parent / "plans-from-nothing.yaml"


def forbidden(*_: Any) -> Any:
    raise AssertionError("a plan only looks")


def making(seen: Any = 0, **other: Any) -> Step[Any, Any]:
    """A step that wants one change on each node that it has not seen."""

    def plan(wanted: Params, seen: Any) -> list[Change]:
        return [Change(name, MAKE) for name in wanted.nodes if name not in (seen or ())]

    options: dict[str, Any] = {"observe": lambda book: seen, "plan": plan, "apply": forbidden, "verify": forbidden}
    return made_step("making", **{**options, **other})


def as_seen(ahead: Forecast, params: Params, seen: Any) -> Any:
    return seen


@pytest.fixture
def book(cluster: Cluster) -> PlannedBook:
    return PlannedBook("02", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster)


def test_a_step_ends_with_its_plan(book: PlannedBook) -> None:
    foresee(book, making(("sw1",)))
    assert book.ahead.steps == [PlannedStep("02", "making", (Change("sw2", MAKE),))]


def test_nodes_to_come_are_supposed(book: PlannedBook) -> None:
    book.ahead.absent = {"sw2"}
    assert [node.name for node in book.nodes] == ["sw1", "sw2"]
    assert (book.ready(), list(book.fleet.hosts)) == (["sw1"], ["sw1"])
    foresee(book, making(("sw1",), assume=as_seen))
    assert book.ahead.steps[-1].assumed == ("sw2",)
    book.ahead.absent = {"sw1", "sw2"}

    def empty(ahead: Forecast, params: Params, seen: Any) -> Any:
        assert seen is None
        return ("none",)

    foresee(book, making(assume=empty, observe=forbidden))
    changes = (Change("sw1", MAKE), Change("sw2", MAKE))
    assert book.ahead.steps[-1] == PlannedStep("02", "making", changes, ("sw1", "sw2"))


def test_a_step_on_what_an_earlier_one_makes(book: PlannedBook) -> None:
    def nothing_there(book: Book) -> Any:
        raise OutOfOrder("run 03 first")

    with pytest.raises(OutOfOrder):  # no one makes it: the run would stop here too
        foresee(book, making(observe=nothing_there, assume=as_seen))
    foresee(book, making(("sw1",)))
    foresee(book, making(observe=nothing_there, assume=as_seen))
    assert book.ahead.steps[-1].assumed == ("sw1", "sw2")


def test_what_cannot_be_known(book: PlannedBook) -> None:
    def dark(ahead: Forecast, seen: Any, changes: list[Change]) -> None:
        ahead.unknown = "sw2 is down"

    foresee(book, making(forecast=dark))
    foresee(book, making(observe=forbidden, plan=forbidden, assume=forbidden))
    assert book.ahead.steps[-1] == PlannedStep("02", "making", unknown="sw2 is down")


def test_nodes_that_nobody_will_make(book: PlannedBook) -> None:
    book.cluster.save_nodes(book.cluster.nodes[:1], "lab")
    with pytest.raises(OutOfOrder, match="run 01 first: no machine for sw2"):
        _ = book.nodes


def test_a_step_is_held_to_the_plan_of_its_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    book = Book("02", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    Plan("lab", {}, {}, (PlannedStep("02", "making", (Change("sw1", MAKE),)),)).save(tmp_path / "plan.json")
    with pytest.raises(PlanMismatch, match="this step was not begun"):
        making()(book)
    applied = []
    making(("sw2",), apply=lambda book, wanted, seen, changes: applied.extend(changes), verify=lambda wanted, seen: [])(
        book
    )
    assert applied == [Change("sw1", MAKE)]


def test_a_word_is_wanted_for_what_costs(cluster: Cluster) -> None:
    def order(wanted: Any, seen: Any) -> list[Change]:
        return [Change("sw1", Action.ORDER, ("a machine",), Word.ORDER)]

    for word in ("", "DESTROY", "order"):
        with pytest.raises(ConfirmationMissing, match="1 thing would be ordered") as caught:
            making(plan=order)(Book("01", Params(confirm=word), cluster=cluster))
        assert "sw1: a machine ordered" in str(caught.value)
    applied = []
    making(plan=order, apply=lambda book, wanted, seen, changes: applied.append(1), verify=lambda wanted, seen: [])(
        Book("01", Params(confirm="ORDER"), cluster=cluster)
    )
    assert applied == [1]


def test_what_is_wanted_is_kept_only_when_it_is_applied(cluster: Cluster) -> None:
    """Keys and secrets that a step wants are made aside: a refusal leaves the cluster's folder as it was."""
    before = {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()}

    def secret(book: Book, seen: Any) -> str:
        return book.cluster.secret("new").reveal()

    def refused(wanted: str, seen: Any) -> list[Change]:
        return [Change("sw1", Action.REMOVE, ("x",), Word.CANCEL)]

    book = Book("02", Params(), cluster=cluster)
    with pytest.raises(ConfirmationMissing):
        making(want=secret, plan=refused)(book)
    assert {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()} == before
    given = []
    making(
        want=secret,
        plan=lambda wanted, seen: [Change("sw1", MAKE)],
        apply=lambda book, wanted, seen, changes: given.append(wanted),
        verify=lambda wanted, seen: given.append(wanted) or [],
    )(book)
    kept = Cluster("lab").secret("new").reveal()
    assert given == [kept, kept]
    assert (cluster.folder / "secrets" / "new").stat().st_mode & 0o077 == 0


# -- the whole book ------------------------------------------------------------------------------------------------------


def test_from_nothing(from_nothing: Callable[..., Plan], home: Path) -> None:
    plan = from_nothing()
    reported = {f"{s.phase} {s.step}": [f"{c.host}: {c.action}: {sentence(c)}" for c in s.changes] for s in plan.steps}
    wanted = yaml.safe_load(NOTHING.read_text(encoding="utf-8"))
    assert list(reported) == list(wanted)
    for name, lines in wanted.items():
        # Hashes of images and settings follow their content; that they are there is enough.
        seen = [
            line.partition("swarmbook/")[0]
            if "swarmbook/consul:" in line
            else line.rpartition("galera-settings-")[0] or line
            for line in reported[name]
        ]
        assert seen == lines, name
    assert not any(s.unknown for s in plan.steps)
    assert {s.assumed for s in plan.steps if s.phase > "01"} == {("sw1", "sw2", "sw3")}
    assert plan.words() == {} and [cost.new for cost in plan.costs] == [True, True, True]
    assert sorted(path.name for path in home.iterdir()) == ["notebooks"], "a plan left something behind"
    assert from_nothing().digest == plan.digest


def test_what_costs_asks_for_the_order(from_nothing: Callable[..., Plan]) -> None:
    plan = from_nothing(lab_hourly_cost=0.25)
    assert list(plan.words()) == ["ORDER"] and len(plan.words()["ORDER"]) == 3
    assert sum(cost.hourly for cost in plan.costs) == 0.75
    assert "0.750" in plan_text(plan)


def test_part_of_the_book_needs_what_comes_before(from_nothing: Callable[..., Plan]) -> None:
    with pytest.raises(OutOfOrder, match="run 01 first"):
        from_nothing(["03"])
    assert from_nothing(["91"]).changes == []


def test_no_engine_where_there_were_machines(
    from_nothing: Callable[..., Plan], home: Path, node: Callable[..., Node]
) -> None:
    """No one could look at them, so they are neither made again nor taken for gone."""
    Cluster("lab", home).save_nodes([node(f"sw{n}") for n in (1, 2, 3)], "lab")
    generate_key(Cluster("lab", home).key_file, "x")
    plan = from_nothing()
    machines = plan.step("01", "machines")
    assert machines is not None and {(c.host, c.action) for c in machines.changes} == {
        (f"sw{n}", Action.START_MACHINE) for n in (1, 2, 3)
    }
    assert all("no Docker Engine runs here" in c.because for c in machines.changes)
    assert all(s.unknown for s in plan.steps if s.phase > "01")
    assert not any(c.action in NEW_NODE for _, c in plan.changes)


def test_a_notebook_that_is_not_there(from_nothing: Callable[..., Plan], home: Path) -> None:
    (home / "notebooks").unlink()
    with pytest.raises(UsageError, match="a notebook is not there"):
        from_nothing()


def test_the_folder_is_left_as_it_is(cluster: Cluster) -> None:
    kept = cluster.secret("one").reveal()
    before = {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()}
    with cluster.untouched():
        assert cluster.secret("one").reveal() == kept
        other = cluster.secret("two").reveal()
        Book("03", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster).leaf(
            Purpose.CONSUL, "sw1", ["x"], Use.PEER
        )
        aside = cluster.pki_folder.parent
        assert (aside / "pki" / "consul" / "sw1.key").exists() and aside.stat().st_mode & 0o077 == 0
    assert not aside.exists()
    assert {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()} == before
    assert cluster.secret("two").reveal() != other
