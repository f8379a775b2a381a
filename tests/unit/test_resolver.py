"""resolv.conf, read as the resolver reads it; what an engine cannot take is left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.phases.support.resolver import for_containers, nameservers


def read(text: str, resolved: str = "") -> tuple[str, ...]:
    return nameservers({"resolver": text.split("\n"), "resolved": resolved.split("\n")})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 10.9.8.7", ("10.9.8.7",)),
        ("nameserver 10.9.8.7 # google", ("10.9.8.7",)),
        ("nameserver 10.9.8.7 ; google", ("10.9.8.7",)),
        ("nameserver\t10.9.8.7", ("10.9.8.7",)),
        ("nameserver \t 10.9.8.7\t# one", ("10.9.8.7",)),
        ("nameserver 10.9.8.7\r", ("10.9.8.7",)),
        ("# nameserver 10.9.8.7\n; nameserver 10.9.8.8\n#nameserver 10.9.8.9", ()),
        (" nameserver 10.9.8.7", ()),
        ("nameservers 10.9.8.7\nnameserver10.9.8.7\nNAMESERVER 10.9.8.7\nnameserver", ()),
        ("nameserver google\nnameserver 10.9.8.256\nnameserver #\nnameserver 10.9.8.7#x", ()),
        ("nameserver 10.1\nnameserver 010.0.0.1", ("10.0.0.1", "8.0.0.1")),
        ("nameserver 2001:DB8::0:1\nnameserver fe80::1%eth0", ("2001:db8::1",)),
        ("nameserver 1.1.1.1\nnameserver 1.1.1.1", ("1.1.1.1",)),
        ("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4", ("1.1.1.1", "1.1.1.2", "1.1.1.3")),
        ("search a b\noptions ndots:2\n\nnameserver 10.9.8.7", ("10.9.8.7",)),
    ],
)  # fmt: skip
def test_what_the_resolver_takes(text: str, found: tuple[str, ...]) -> None:
    assert read(text) == found


def test_those_behind_the_nodes_own_service_come_with_it() -> None:
    """A container reaches 127.0.0.53 no more than another machine does."""
    behind = "nameserver 10.9.8.7\nnameserver fe80::1%eth0"
    assert read("nameserver 127.0.0.53", behind) == ("127.0.0.53", "10.9.8.7")
    assert read("nameserver 127.0.0.53\nnameserver 1.1.1.1", behind) == ("127.0.0.53", "1.1.1.1")
    assert read("", behind) == ()


def test_what_a_container_does_not_reach_is_left_out() -> None:
    here = ("127.0.0.53", "127.0.1.1", "::1", "0.0.0.0", "::", "fe80::1", "169.254.1.1", "224.0.0.1", "255.255.255.255")
    assert for_containers([*here, "10.9.8.7", "2001:db8::1"]) == ["10.9.8.7", "2001:db8::1"]


@given(st.text(max_size=80))
def test_any_file_gives_addresses_or_nothing(text: str) -> None:
    for found in (read(text), read(f"nameserver {text}"), read(f"nameserver\t{text}")):
        assert json.loads(json.dumps(for_containers(found))) == for_containers(found)
