"""Answers over HTTP are bounded in bytes and in seconds, and no redirect is followed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import docker
import pytest
import requests

from swarmbook.access.answers import bound
from swarmbook.access.docker_api import Engine
from swarmbook.base.codes import Code
from swarmbook.testing.errors import raises

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves whatever a function writes, to each that comes; gives the URL."""
    with contextlib.ExitStack() as stack:

        def one(write: Callable[[socket.socket], None]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def go() -> None:
                while True:
                    try:
                        client, _ = listener.accept()
                    except OSError:
                        return
                    with client, contextlib.suppress(OSError):
                        client.recv(65536)
                        write(client)

            threading.Thread(target=go, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"http://127.0.0.1:{listener.getsockname()[1]}/"

        yield one


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def endless(client: socket.socket) -> None:
    client.sendall(HEAD + b"\r\n[")
    while True:
        client.sendall(b"0," * 32768)


def drop_by_drop(client: socket.socket) -> None:
    client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        client.sendall(b"1\r\n0\r\n")
        time.sleep(0.02)


def whole(client: socket.socket) -> None:
    client.sendall(HEAD + b'Content-Length: 7\r\n\r\n{"a":1}')


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        bound(session, most=1 << 20, whole_s=0.5)
        yield session


def test_an_answer_is_read(serve: Serve, session: requests.Session) -> None:
    answer = session.get(serve(whole), timeout=30)
    assert (answer.json(), answer.text, answer.content) == ({"a": 1}, '{"a":1}', b'{"a":1}')


def test_one_without_end_is_refused(serve: Serve, session: requests.Session) -> None:
    with pytest.raises(requests.ConnectionError, match="more than 1 MiB"):
        session.get(serve(endless), timeout=30)


def test_one_that_never_ends_is_refused(serve: Serve, session: requests.Session) -> None:
    with pytest.raises(requests.ConnectionError, match=r"no end after 0\.5 s"):
        session.get(serve(drop_by_drop), timeout=30)


def test_one_that_is_read_piece_by_piece_is_its_callers(serve: Serve, session: requests.Session) -> None:
    with session.get(serve(endless), timeout=30, stream=True) as answer:
        assert len(next(answer.iter_content(1 << 16))) > 0


def test_nobody_is_sent_elsewhere(serve: Serve, session: requests.Session) -> None:
    asked: list[bytes] = []

    def other(client: socket.socket) -> None:
        asked.append(b"came")
        whole(client)

    elsewhere = serve(other)

    def moved(client: socket.socket) -> None:
        client.sendall(f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode())

    with pytest.raises(requests.TooManyRedirects):
        session.get(serve(moved), timeout=30)
    assert not asked


def test_an_engine_that_floods(serve: Serve) -> None:
    client = docker.DockerClient(base_url=serve(endless).replace("http", "tcp").rstrip("/"), version="1.41", timeout=30)
    client.api.trust_env = False
    bound(client.api, most=1 << 20)
    engine = Engine(client, "n1")
    try:
        with raises(Code.ENGINE_UNAVAILABLE, "n1", "more than 1 MiB"):
            engine.about()
    finally:
        engine.close()
