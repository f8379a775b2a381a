"""Logins as parameters say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from swarmbook.access.logins import logins_of, parse_login
from swarmbook.params.schema import HostEntry


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("10.0.0.1", "root", "10.0.0.1", 22),
        ("deploy@10.0.0.1", "deploy", "10.0.0.1", 22),
        ("deploy@db-1.example.com:2222", "deploy", "db-1.example.com", 2222),
        ("[fd00::1]", "root", "fd00::1", 22),
        ("a.b@[fd00::1]:2222", "a.b", "fd00::1", 2222),
    ],
)
def test_user_address_and_port(text: str, user: str, host: str, port: int) -> None:
    login = parse_login(text)
    assert (login.user, login.end.host, login.end.port) == (user, host, port)


@given(st.from_regex(TypeAdapter(HostEntry).json_schema()["pattern"], fullmatch=True))
def test_whatever_the_parameters_take_is_a_login(entry: str) -> None:
    ((name, login),) = logins_of([entry.rstrip("\n")]).items()
    assert name and login.user and login.end.host and not set(login.end.host) & set("@/ ;[]")
