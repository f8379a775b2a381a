"""What is kept of a command that goes wrong: the failure of that stream which sees it first."""

from __future__ import annotations

import time

import pytest

from swarmbook.access.channel import TooMuch, _Answer


class Dead:
    """A channel whose transport has gone: it cannot say that it closes."""

    def close(self) -> None:
        raise EOFError


@pytest.mark.parametrize(
    ("late", "most", "wanted"), [(True, 100, TimeoutError), (False, 3, TooMuch)], ids=["late", "too much"]
)
def test_a_stream_of_a_transport_that_has_died_keeps_what_went_wrong_first(
    late: bool, most: int, wanted: type[Exception]
) -> None:
    """The thread that reads the other stream raises nothing: Python would print that over the user's terminal."""
    answer = _Answer(Dead(), time.monotonic() + (-1 if late else 60), most)
    pieces = iter([b"some", b"more", b""])
    answer.drain(lambda _: next(pieces), bytearray())
    with pytest.raises(wanted):
        answer.check()
