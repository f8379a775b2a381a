"""TLS to nodes: a certificate is held to the node's name, and to its purpose, whatever the address."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from swarmbook.access.pki import Authority, Leaf, Purpose, Use, operator
from swarmbook.access.tls import NamedAdapter, NamedContext

DAY = timedelta(days=1)
#: As what the book has each purpose's certificates shown.
USES = {
    Purpose.ENGINE: Use.SERVER,
    Purpose.CONSUL: Use.PEER,
    Purpose.REPLICATION: Use.PEER,
    Purpose.DATABASE: Use.SERVER,
}


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[Purpose, Authority]:
    folder = tmp_path_factory.mktemp("pki")
    return {purpose: Authority(folder / purpose.value, f"{purpose.value} CA") for purpose in Purpose}


@pytest.fixture(scope="module")
def leaves(authorities: dict[Purpose, Authority]) -> dict[Purpose, Leaf]:
    return {
        purpose: authorities[purpose].leaf("sw1", ["sw1", "10.9.0.1"], use, life=DAY, renew=timedelta(0))
        for purpose, use in USES.items()
    }


Serve = Callable[..., contextlib.AbstractContextManager[int]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serves HTTP over TLS on the loopback, by OpenSSL's own rules for who may show what."""

    @contextlib.contextmanager
    def serving(leaf: Leaf, clients: bytes | None = None) -> Iterator[int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = tmp_path / "server.pem"
        chain.write_bytes(leaf.key + leaf.certificate)
        context.load_cert_chain(chain)
        if clients is not None:
            context.load_verify_locations(cadata=clients.decode())
            context.verify_mode = ssl.CERT_REQUIRED
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        raw, _ = listener.accept()
                        with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as client:
                            client.recv(4096)
                            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

            threading.Thread(target=answer, daemon=True).start()
            yield int(listener.getsockname()[1])
            listener.shutdown(socket.SHUT_RDWR)

    return serving


def get(port: int, name: str, authority: Authority, leaf: Leaf | None = None) -> str:
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(authority.file)
        session.mount("https://", NamedAdapter(NamedContext.of(name, authority.bundle, leaf)))
        return session.get(f"https://127.0.0.1:{port}/", timeout=30).text


def test_the_name_is_held_to(serve: Serve, authorities: dict[Purpose, Authority], leaves: dict[Purpose, Leaf]) -> None:
    """Behind 127.0.0.1, where tunnels and published ports of all nodes are."""
    consul = authorities[Purpose.CONSUL]
    with serve(leaves[Purpose.CONSUL]) as port:
        assert get(port, "sw1", consul) == "ok"
        with pytest.raises(requests.exceptions.SSLError, match=r"sw2"):
            get(port, "sw2", consul)
        with pytest.raises(requests.exceptions.SSLError):  # the address that is dialled
            requests.get(f"https://127.0.0.1:{port}/", verify=str(consul.file), timeout=30)
        for name, fits in (("sw1", True), ("sw2", False)):
            context = NamedContext.of(name, consul.bundle)
            with socket.create_connection(("127.0.0.1", port)) as raw:
                if fits:
                    context.wrap_socket(raw, server_hostname="127.0.0.1").close()  # as pymysql does
                else:
                    with pytest.raises(ssl.SSLCertVerificationError, match="sw2"):
                        context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_the_worlds_authorities_count_for_nothing(authorities: dict[Purpose, Authority]) -> None:
    context = NamedContext.of("sw1", authorities[Purpose.CONSUL].bundle)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("shown", list(USES), ids=lambda purpose: purpose.value)
def test_no_certificate_of_the_cluster_opens_an_engine(
    shown: Purpose, serve: Serve, authorities: dict[Purpose, Authority], leaves: dict[Purpose, Leaf]
) -> None:
    """The engines' own neither: they are a server's. Before, any opened all."""
    engines = authorities[Purpose.ENGINE]
    with serve(leaves[Purpose.ENGINE], clients=engines.bundle) as port:
        assert get(port, "sw1", engines, operator(engines)) == "ok"
        with pytest.raises(requests.exceptions.ConnectionError):
            get(port, "sw1", engines, leaves[shown])


@pytest.mark.parametrize(
    ("shown", "at"), [pair for pair in itertools.product(USES, USES) if pair[0] is not pair[1]], ids=str
)
def test_no_server_passes_for_one_of_another_purpose(
    shown: Purpose, at: Purpose, serve: Serve, authorities: dict[Purpose, Authority], leaves: dict[Purpose, Leaf]
) -> None:
    with serve(leaves[shown]) as port, pytest.raises(requests.exceptions.SSLError):
        get(port, "sw1", authorities[at])
