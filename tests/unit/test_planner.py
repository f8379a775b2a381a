"""Making a plan: steps that are asked and do nothing, a cluster's folder that stays as it is, and a whole book planned from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarmbook.access.cluster import Cluster, Node
from swarmbook.base.errors import ConfirmationMissing, EngineUnavailable, OutOfOrder, PlanMismatch, UsageError
from swarmbook.book.book import Book, Change, Prospect, converge, look
from swarmbook.machines.providers import lab
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import Plan, PlannedStep
from swarmbook.params import Params
from swarmbook.phases import planner

NOTHING = Path(__file__).parent / "plans-from-nothing.yaml"


def forbidden(*_: Any) -> Any:
    raise AssertionError("a plan only looks")


def step(book: Book, seen: Any = 0, **other: Any) -> Any:
    """A step that wants one change on each node that it has not seen."""
    options: dict[str, Any] = {
        "observe": lambda book: seen, "plan": lambda params, seen: [Change(name, "make") for name in params.nodes if name not in (seen or ())],
        "apply": forbidden, "verify": forbidden, "what": "making",
    }  # fmt: skip
    return converge(book, **{**options, **other})


@pytest.fixture
def prospect(cluster: Cluster) -> Prospect:
    return Prospect()


@pytest.fixture
def book(cluster: Cluster, prospect: Prospect) -> Book:
    return Book("02", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster, prospect=prospect)


def test_a_step_ends_with_its_plan(book: Book, prospect: Prospect) -> None:
    result = step(book, ("sw1",))
    assert result.changes == (Change("sw2", "make"),)
    assert prospect.steps == [PlannedStep("02", "making", (Change("sw2", "make"),))]
    assert look(book, forbidden).counts() == {"hosts": 0, "changes": 0, "checks": 0, "failed": 0}


def test_nodes_to_come_are_supposed(book: Book, prospect: Prospect) -> None:
    prospect.absent = {"sw2"}
    assert [node.name for node in book.nodes] == ["sw1", "sw2"]
    assert (book.ready(), list(book.fleet.hosts)) == (["sw1"], ["sw1"])
    step(book, ("sw1",), suppose=lambda book, seen: seen)
    assert prospect.steps[-1].assumed == ("sw2",)
    prospect.absent = {"sw1", "sw2"}
    step(book, suppose=lambda book, seen: ("none",) if seen is None else forbidden(), observe=forbidden)
    assert prospect.steps[-1] == PlannedStep(
        "02", "making", (Change("sw1", "make"), Change("sw2", "make")), ("sw1", "sw2")
    )


def test_a_step_on_what_an_earlier_one_makes(book: Book, prospect: Prospect) -> None:
    def nothing_there(book: Book) -> Any:
        raise OutOfOrder("run 03 first")

    with pytest.raises(OutOfOrder):  # nobody makes it: the run would stop here too
        step(book, observe=nothing_there, suppose=lambda book, seen: seen)
    step(book, ("sw1",))
    step(book, observe=nothing_there, suppose=lambda book, seen: seen)
    assert prospect.steps[-1].assumed == ("sw1", "sw2")


def test_what_cannot_be_known(book: Book, prospect: Prospect) -> None:
    def ahead(prospect: Prospect, seen: Any, changes: list[Change]) -> None:
        prospect.unknown = "sw2 is down"

    step(book, ahead=ahead)
    step(book, observe=forbidden, plan=forbidden, suppose=forbidden)
    assert prospect.steps[-1] == PlannedStep("02", "making", unknown="sw2 is down")


def test_nodes_that_nobody_will_make(book: Book) -> None:
    book.cluster.save_nodes(book.cluster.nodes[:1], "lab")
    with pytest.raises(OutOfOrder, match="run 01 first: no machine for sw2"):
        _ = book.nodes


def test_a_step_is_held_to_the_plan_of_its_run(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    book = Book("02", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    Plan("lab", {}, {}, (PlannedStep("02", "making", (Change("sw1", "make"),)),)).save(tmp_path / "plan.json")
    with pytest.raises(PlanMismatch, match="this step was not begun"):
        step(book)
    applied = []
    step(book, ("sw2",), apply=lambda book, seen, changes: applied.extend(changes), verify=lambda params, seen: [])
    assert applied == [Change("sw1", "make")]


def test_a_word_is_wanted_for_what_costs(cluster: Cluster) -> None:
    def order(params: Any, seen: Any) -> list[Change]:
        return [Change("sw1", "create", "a machine", word="ORDER")]

    for word in ("", "DESTROY", "order"):
        with pytest.raises(ConfirmationMissing, match="1 thing would be ordered") as caught:
            step(Book("01", Params(confirm=word), cluster=cluster), plan=order)
        assert "sw1: a machine" in str(caught.value)
    applied = []
    step(
        Book("01", Params(confirm="ORDER"), cluster=cluster),
        plan=order,
        apply=lambda book, seen, changes: applied.append(1),
        verify=lambda params, seen: [],
    )
    assert applied == [1]


# -- the whole book ------------------------------------------------------------------------------------------------------


@pytest.fixture
def from_nothing(home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plans in a home that holds the notebooks and nothing else, on a computer where no engine runs."""
    (home / "notebooks").symlink_to(root / "notebooks")
    monkeypatch.setattr(lab, "local_engine", lambda: None)
    monkeypatch.setattr(lab, "ensure_engine", forbidden)

    def make(numbers: list[str] | None = None, **params: Any) -> Plan:
        return planner.make_plan(
            Params(**params), numbers or [n for n in PHASES if "01" <= n < "20"], Cluster("lab", home)
        )

    return make


def test_from_nothing(from_nothing: Callable[..., Plan], home: Path) -> None:
    plan = from_nothing()
    told = {f"{s.phase} {s.step}": [f"{c.host}: {c.action}: {c.detail}" for c in s.changes] for s in plan.steps}
    wanted = yaml.safe_load(NOTHING.read_text(encoding="utf-8"))
    assert list(told) == list(wanted)
    for name, lines in wanted.items():
        # Hashes of images and settings follow their content; that they are there is enough.
        seen = [
            line.partition("swarmbook/")[0]
            if "swarmbook/consul:" in line
            else line.rpartition("galera-settings-")[0] or line
            for line in told[name]
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
    assert "0.750" in plan.to_text()


def test_part_of_the_book_needs_what_comes_before(from_nothing: Callable[..., Plan]) -> None:
    with pytest.raises(OutOfOrder, match="run 01 first"):
        from_nothing(["03"])
    assert from_nothing(["91"]).changes == []


def test_no_engine_where_there_were_machines(
    from_nothing: Callable[..., Plan], home: Path, node: Callable[..., Node]
) -> None:
    Cluster("lab", home).save_nodes([node(f"sw{n}") for n in (1, 2, 3)], "lab")
    with pytest.raises(EngineUnavailable, match="no Docker Engine answers"):
        from_nothing()


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
        Book("03", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster).leaf("client", ["x"])
        aside = cluster.pki_folder.parent
        assert (aside / "pki" / "client.key").exists() and aside.stat().st_mode & 0o077 == 0
    assert not aside.exists()
    assert {path: path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()} == before
    assert cluster.secret("two").reveal() != other
