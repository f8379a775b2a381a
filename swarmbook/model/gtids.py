"""MariaDB's GTIDs: lists of DOMAIN-SERVER-NUMBER, one of each domain."""

from __future__ import annotations

import re

__all__ = ["number_in"]

_GTID = re.compile(r"([0-9]{1,10})-[0-9]{1,10}-([0-9]{1,19})")


def number_in(gtids: str, domain: int) -> int:
    """Return the highest number of a domain in a list of GTIDs; 0 where it has none.

    Example:
        >>> number_in("7-7-12,9-9-1", 7), number_in("7-7-12", 8)
        (12, 0)

    Args:
        gtids: The list, with commas.
        domain: The domain.
    """
    return max((int(count) for each, count in _GTID.findall(gtids) if int(each) == domain), default=0)
