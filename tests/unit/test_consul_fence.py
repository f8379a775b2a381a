"""Who may write Consul's raft: servers alone, or whom the parameters accept by name."""

from __future__ import annotations

import pytest

from swarmbook.phases.consul.fence import raft_check, takes_raft_from_all

SERVERS = {"sw1": {"server": True}}
WITH_CLIENT = {**SERVERS, "sw4": {"server": False}}


@pytest.mark.parametrize(
    ("version", "takes"),
    [
        ((1, 8, 7), True), ((1, 8, 15), False), ((1, 9, 8), True), ((1, 9, 9), False), ((1, 10, 1), True), ((1, 10, 2), False), ((1, 7, 14), True),
        ((1, 12, 0), False), ((1, 22, 5), False), ((1, 8), True), ((), False),
    ],
)  # fmt: skip
def test_the_versions_that_took_raft_from_all(version: tuple[int, ...], takes: bool) -> None:
    assert takes_raft_from_all(version) is takes


@pytest.mark.parametrize(
    ("version", "configs", "accepted", "ok", "seen"),
    [
        ((1, 8, 7), SERVERS, False, True, "servers alone"),
        ((1, 8, 7), WITH_CLIENT, False, False, "servers, and clients on sw4"),
        ((1, 8, 7), WITH_CLIENT, True, True, "servers, and clients on sw4, as consul_source: debian accepts"),
        ((1, 22, 5), WITH_CLIENT, False, True, "servers alone"),
    ],
)
def test_what_04_says_of_it(
    version: tuple[int, ...], configs: dict[str, dict[str, bool]], accepted: bool, ok: bool, seen: str
) -> None:
    (check,) = raft_check(version, configs, accepted)
    assert (check.ok, check.seen) == (ok, seen)


def test_an_unknown_version_says_nothing() -> None:
    assert raft_check((), WITH_CLIENT, False) == []
