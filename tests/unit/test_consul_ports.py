"""Who is in Consul's way, from real lines of ``ss -Hltunp``."""

from __future__ import annotations

import pytest

from swarmbook.phases.consul.probe import Listener

CONFIG = {"ports": {"dns": 53, "https": 8501}, "addresses": {"dns": "10.0.0.5", "https": "10.0.0.5 127.0.0.1"}}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('tcp LISTEN 0 128 0.0.0.0:8501 0.0.0.0:* users:(("sshd",pid=812,fd=6))', True),
        ("tcp LISTEN 0 128 [::]:8501 [::]:*", True),
        ("tcp LISTEN 0 128 127.0.0.1:8501 0.0.0.0:*", True),
        ('udp UNCONN 0 0 10.0.0.5:53 0.0.0.0:* users:(("dnsmasq",pid=3,fd=4))', True),
        ('udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=3,fd=4))', False),
        ("udp UNCONN 0 0 127.0.0.1:53 0.0.0.0:*", False),
        ("tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*", False),
        ("tcp LISTEN 0 128 10.0.0.9:8501 0.0.0.0:*", False),
    ],
)
def test_in_the_way(line: str, wanted: bool) -> None:
    assert Listener.read(line).in_the_way_of(CONFIG) is wanted
