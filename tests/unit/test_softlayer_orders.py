"""Which instance an order became, when its answer was lost: the one of its own name that was not there before."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.base.errors import OrderUncertain
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
