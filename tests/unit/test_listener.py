"""Who has heard what a member's agent says."""

from __future__ import annotations

import socket
import threading
import time

from swarmbook.machines.images.galera.listener import ASKS_S, Heard, serve


def test_everyone_who_asks_has_asked_twice() -> None:
    heard = Heard()
    assert heard.all_since(100.0), "no one asks"
    heard.note("a", 99.9)
    heard.note("b", 99.95)
    heard.note("gone", 100.0 - ASKS_S - 1)
    assert not heard.all_since(100.0)
    for who, asked in (("a", 100.05), ("b", 100.1), ("a", 100.15)):
        heard.note(who, asked)
        assert not heard.all_since(100.0), "an answer may not have been acted upon before the next question"
    heard.note("b", 100.2)
    assert heard.all_since(100.0)


def test_it_is_waited_for_and_not_for_ever() -> None:
    heard = Heard()
    heard.note("silent", time.monotonic())
    began = time.monotonic()
    heard.wait(0.05)
    assert time.monotonic() - began >= 0.05
    for after in (0.02, 0.04):
        threading.Timer(after, lambda: heard.note("silent", time.monotonic())).start()
    heard.wait(60)


def test_who_asks_for_the_writer_is_noted() -> None:
    heard, said = Heard(), {"/writer": (404, "leaving"), "/reader": (200, "Synced")}
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(lambda path: said[path], heard, listener), daemon=True).start()
    for path, answer in (("/reader", b"HTTP/1.0 200"), ("/writer", b"HTTP/1.0 404")):
        with socket.create_connection(listener.getsockname(), timeout=5) as to:
            to.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert to.recv(100).startswith(answer)
            while to.recv(100):
                pass
        assert heard.all_since(time.monotonic()) is (path == "/reader")
