"""A channel that is listened to while something is sent on it behind its back."""

from __future__ import annotations

import asyncio
import tempfile
from queue import Empty
from typing import Any

import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session

from swarmbook.runner.pulse import never_asleep


async def answer_while_sending(folder: str, awake: bool) -> Any:
    """The kernel answers in the moment in which something is sent to it, by the same socket's shadow as jupyter_client does."""
    context = zmq.asyncio.Context()
    kernel, ours = zmq.Socket(zmq.Context.instance(), zmq.ROUTER), context.socket(zmq.DEALER)
    kernel.linger = ours.linger = 0
    session = Session(key=b"k")
    try:
        address = f"ipc://{folder}/s"
        kernel.bind(address)
        ours.connect(address)
        channel = AsyncZMQSocketChannel(ours, session, None)
        if awake:
            never_asleep(channel)
        shadow = zmq.Socket.shadow(ours.underlying)
        session.send(shadow, "execute_request", {})
        identities, _ = session.feed_identities(kernel.recv_multipart())
        waiting = asyncio.ensure_future(channel.get_msg())
        await asyncio.sleep(0.05)  # it has checked, and waits for the test
        session.send(kernel, "execute_reply", {"status": "ok"}, ident=identities)
        assert shadow.poll(5000, zmq.POLLIN), "the answer is there"
        session.send(shadow, "comm_msg", {})
        try:
            return await asyncio.wait_for(waiting, 3)
        except asyncio.TimeoutError:
            return None
    finally:
        kernel.close()
        ours.close()
        context.term()


def test_an_answer_that_nobody_is_told_of_is_seen() -> None:
    with tempfile.TemporaryDirectory(prefix="swbt-") as folder:  # a path short enough for a unix socket
        assert asyncio.run(answer_while_sending(folder, awake=False)) is None, (
            "the trap that this guards against is gone: so may the guard be"
        )
        message = asyncio.run(answer_while_sending(folder, awake=True))
    assert message["msg_type"] == "execute_reply"


def test_a_limit_is_kept() -> None:
    class Silent:
        async def get_msg(self, timeout: float | None = None) -> Any:
            assert timeout is not None
            await asyncio.sleep(timeout)
            raise Empty

    channel = Silent()
    never_asleep(channel)
    with pytest.raises(Empty):
        asyncio.run(channel.get_msg(timeout=0.6))
