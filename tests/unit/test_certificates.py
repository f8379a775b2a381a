"""How long certificates have left, for a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from swarmbook.access.pki import Purpose, Use
from swarmbook.book.book import Book
from swarmbook.phases.certificates import summary, table


def test_what_has_ended_is_said_so(open_book: Callable[..., Book]) -> None:
    book = open_book("05")
    authority = book.authority(Purpose.CONSUL)
    assert summary(book.cluster) == "consul its CA 1,824 days"
    authority.leaf("sw1", ["sw1"], Use.PEER, life=timedelta(days=10, hours=1), renew=timedelta(0))
    assert summary(book.cluster) == "consul 10 days, its CA 1,824 days"
    authority.leaf("sw2", ["sw2"], Use.PEER, life=timedelta(minutes=-1), renew=timedelta(days=-9))
    assert summary(book.cluster) == "consul ended within the last day, its CA 1,824 days"
    rows = {row[1]: row for row in table(book).rows}
    assert rows["sw1"][3:] == ["10", "the next run renews it"]
    assert rows["sw2"][3:] == ["ended within the last day", "the next run renews it"]
