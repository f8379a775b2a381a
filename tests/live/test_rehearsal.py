"""Rented machines, rehearsed: the whole book on lab machines behind the service's own wire, and everything gone afterwards."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Done, Lab, program, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(
        ["n1", "n2"], provider="softlayer", sl_endpoint="rehearsal", sl_domain="example.com", swarm_managers=1
    )


def slcli(lab: Lab, *arguments: str) -> Done:
    """The real slcli, asking the rehearsal of this home as long as it takes to answer."""
    log = lab.home / "served.txt"
    running = lab.start("rehearse", "--out", "params/again.yaml", "--serve", log=log)
    try:
        running.until(lambda: "slcli -C " in running.said and " vs list" in running.said)
        settings = running.said.partition("slcli -C ")[2].partition(" vs list")[0]
        return lab.call(
            [*program("slcli"), "-C", settings, "--format", "json", *arguments],
            env={"HOME": str(lab.home), "PYTHONWARNINGS": "ignore"},
        )
    finally:
        running.send(signal.SIGINT)


def test_the_committed_parameters_are_those_that_rehearse_writes(lab: Lab) -> None:
    for name in ("softlayer.yaml", "lab.yaml"):
        (lab.home / "params" / name).write_text((ROOT / "params" / name).read_text())
    lab.swarmbook("rehearse", "params/softlayer.yaml").expect(0, "next: swarmbook run params/softlayer.rehearsal.yaml")
    assert (lab.home / "params" / "softlayer.rehearsal.yaml").read_text() == (
        ROOT / "params" / "rehearsal.yaml"
    ).read_text()
    lab.swarmbook("rehearse", "params/lab.yaml").refused(2, "only rented machines can be rehearsed", "provider: lab")
    lab.swarmbook("rehearse", "params/softlayer.yaml", "--out", "params/lab.yaml").refused(3, "no rehearsal wrote it")
    lab.swarmbook("rehearse").expect(2, "nothing to rehearse")


def test_a_price_and_no_order(lab: Lab) -> None:
    done = lab.book("plan", "--only", "01").expect(0, "REHEARSAL: instance ordered", "asks for ORDER", "an hour")
    assert "new   2 machines" in done.out, done
    lab.book("run").expect(2, "This will be ordered", "ORDER")
    assert not lab.leftovers()


def test_what_the_service_refuses_is_told_in_its_words(lab: Lab) -> None:
    lab.swarmbook("rehearse", "--up", "3", "--fault", "quota,on=Virtual_Guest::createObject").expect(
        0, "3 s at least", "injected faults: quota on Virtual_Guest::createObject, always"
    )
    lab.book("run", "--only", "01", "--yes").refused(
        3,
        "SoftLayer refused",
        "REHEARSAL: the account has reached its limit of virtual servers",
        "swarmbook explain provider-says-no",
    )
    assert not lab.leftovers()
    lab.swarmbook("rehearse", "--behave").expect(0, "no faults are injected")


def test_the_whole_book(lab: Lab) -> None:
    done = lab.book("run", "--yes", env={"SL_USERNAME": "someone", "SL_API_KEY": "a-real-key-that-stays-here"}).expect(
        0, "REHEARSAL: nothing is rented"
    )
    assert lab.summary()["status"] == "completed", done
    kept = b"".join(path.read_bytes() for path in lab.runs[-1].rglob("*") if path.is_file())
    assert b"a-real-key-that-stays-here" not in kept and re.search(rb"rehearsal-[0-9]{7}", kept)
    assert "REHEARSAL: nothing is rented" in (lab.runs[-1] / "report.html").read_text()
    executed = (lab.runs[-1] / "01_provision_instances.ipynb").read_text()
    assert "REHEARSAL: 2 cores, 4096 MB" in executed
    lab.book("run", "--yes").expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0


def test_slcli_meets_the_same_account(lab: Lab) -> None:
    found = json.loads(slcli(lab, "vs", "list").expect(0).out)
    assert sorted(row["hostname"] for row in found) == ["n1", "n2"]


def test_cancelled_with_nothing_left(lab: Lab) -> None:
    lab.book("cancel", "--yes").expect(0)
    until(lambda: not lab.leftovers(), why=lambda: f"left: {lab.leftovers()}")
    assert not lab.folder.exists()
    lab.swarmbook("rehearse", "--up", "20").expect(0)
    assert not (lab.home / "rehearsal" / "account.json").exists(), (lab.home / "rehearsal" / "account.json").read_text()
    assert "Nothing to cancel" in lab.book("cancel", "--yes").expect(0).out
