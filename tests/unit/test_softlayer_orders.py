"""Which instance an order became, when its answer was lost: the one of its own name that was not there before."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.base.errors import OrderUncertain, ProviderError, WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.machines.providers.softlayer_orders import Orders
from swarmbook.machines.softlayer_types import Instance, Spec
from swarmbook.model.transcript import Transcript

SPEC = Spec("sw2", "example.com", "dal10", "DEBIAN_LATEST", 1, 1024, True, False, (25, 10), 100, 0, 0, "")
SW2 = Instance(12, "sw2", "example.com", "", "", False, "HALTED", "", (), ())
OTHERS = {
    "another name": replace(SW2, id=11, hostname="sw1"),
    "another domain": replace(SW2, id=11, domain="example.org"),
    "there before": replace(SW2, id=10),
}


def place(*listed: Instance) -> int:
    def lost(spec: Spec, keys: list[int]) -> int:
        raise OrderUncertain("sent, and no answer came", where="here", next="-")

    api: Any = SimpleNamespace(order=lost, rehearsal=True)
    key: Any = SimpleNamespace(label="swarmbook-lab")
    return Orders(api, lambda: listed, Transcript(), wait_for, 0).place(SPEC, key, 1, [], before={10})


@pytest.mark.parametrize("other", OTHERS)
def test_it_is_found_among_others(other: str) -> None:
    assert place(OTHERS[other], SW2) == 12


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_is_taken_for_it(other: str) -> None:
    with pytest.raises(OrderUncertain) as caught:
        place(OTHERS[other])
    assert "slcli vs list --hostname sw2" in (caught.value.next or "")


def transcript_of(api: Any, **spec: Any) -> list[tuple[str, str, int]]:
    transcript = Transcript()
    orders = Orders(api, lambda: [SW2], transcript, wait_for, 0)
    key: Any = SimpleNamespace(label="swarmbook-lab")
    with contextlib.suppress(ProviderError):
        orders.place(replace(SPEC, **spec), key, 1, ["blue", "eu"], before=())
    return [(entry.host, entry.text, entry.exit) for entry in transcript.since(0)]


def taken(spec: Spec, keys: list[int]) -> int:
    assert keys == [1]
    return 12


def refused(spec: Spec, keys: list[int]) -> int:
    raise ProviderError("refused", where="here", seen="no more of them", next="-")


def test_an_order_is_kept_as_a_person_would_type_it() -> None:
    api: Any = SimpleNamespace(order=taken, rehearsal=False)
    typed = (
        "slcli vs create --hostname=sw2 --domain=example.com --cpu 1 --memory 1024 -o DEBIAN_LATEST --billing hourly --datacenter=dal10 "
        "--disk 25 --disk 10 --network 100 --tag blue --tag eu -k swarmbook-lab -u ''"
    )
    assert transcript_of(api, local_disk=True) == [("here", typed, 0)]
    other = transcript_of(api, public_vlan=7, private_vlan=9, hourly=False)[0][1]
    assert " --vlan-public 7 --vlan-private 9 " in other and " --billing monthly " in other and " --san " in other
    assert transcript_of(SimpleNamespace(order=taken, rehearsal=True), local_disk=True)[0][1] == typed + "  # REHEARSAL"
    assert transcript_of(SimpleNamespace(order=refused, rehearsal=False), local_disk=True) == [("here", typed, 1)]


class Account:
    """An account in which one instance is cancelled: what it is listed as at each look, and what the service says to each try."""

    endpoint = "there"

    def __init__(self, listed: list[str | None], answers: list[Exception | None]) -> None:
        self.listed, self.answers, self.tried, self.shown = listed, answers, 0, list[str]()

    def instances(self) -> list[Instance]:
        transaction = self.listed.pop(0) if len(self.listed) > 1 else self.listed[0]
        return [OTHERS["another name"], *([replace(SW2, transaction=transaction)] if transaction is not None else [])]

    def cancel(self, id: int) -> None:
        assert id == SW2.id
        self.tried += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer

    def show(self, text: str) -> None:
        self.shown.append(text)

    def run(self, timeout_s: float = 60) -> None:
        def soon(what: str, probe: Any, **named: Any) -> Any:
            return wait_for(what, probe, first_s=0.001, slowest_s=0.001, **named)

        Orders(self, self.instances, Transcript(), soon, 0).cancel(SW2, timeout_s, self)  # type: ignore[arg-type]


NO = ProviderError("refused", where="there", seen="it is busy", next="-")


def test_what_was_accepted_is_not_asked_for_again() -> None:
    account = Account(["", "RECLAIM", None], [None])
    account.run()
    assert account.tried == 1 and account.shown == ["sw2.example.com: there", "sw2.example.com: RECLAIM"]


def test_one_that_is_worked_on_may_refuse_as_often_as_it_likes() -> None:
    account = Account(["SETUP"] * 9 + ["", None], [NO] * 9 + [None])
    account.run()
    assert account.tried == 10 and account.shown[0] == "sw2.example.com: SETUP; it is busy"


def test_an_idle_one_may_refuse_twice_in_a_row() -> None:
    account = Account(["", "", "SETUP", "", "", "", None], [NO, NO, NO, NO, NO, None])
    account.run()
    assert account.tried == 6


def test_an_idle_one_that_refuses_three_times_means_it() -> None:
    account = Account([""], [NO])
    with pytest.raises(ProviderError, match="refused"):
        account.run()
    assert account.tried == 3


def test_a_lost_answer_is_no_refusal() -> None:
    account = Account(
        ["", "", "", "", None], [OrderUncertain("no answer", where="there", seen="reset by peer", next="-")]
    )
    account.run()
    assert account.tried == 4 and account.shown[0] == "sw2.example.com: reset by peer"


def test_one_that_does_not_go_is_named() -> None:
    with pytest.raises(WaitTimeout) as caught:
        Account(["RECLAIM"], [None]).run(timeout_s=0.01)
    assert "sw2.example.com (id 12)" in str(caught.value) and "RECLAIM" in str(caught.value)
    assert "slcli vs detail 12" in (caught.value.next or "")
