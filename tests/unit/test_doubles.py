"""What stands in for a host of the library in tests takes what the library hands it: no type checker looks at the tests."""

from __future__ import annotations

import inspect

import pytest

from swarmbook.access.hosts import Host

from ..live import uml


@pytest.mark.parametrize("name", [name for name in vars(uml.Machine) if name in vars(Host) and name != "__init__"])
def test_a_machine_of_its_own_kernel_is_called_as_a_host_is(name: str) -> None:
    wanted, ours = getattr(Host, name), getattr(uml.Machine, name)
    if callable(wanted):
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(wanted).parameters)
