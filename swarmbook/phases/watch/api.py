"""Prometheus's HTTP API, as far as the book needs it, through SSH: it listens where its own node alone reaches it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from swarmbook.access.answers import bound
from swarmbook.access.probe import line, understood
from swarmbook.base.border import foreign, words
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.base.plain import plain_data
from swarmbook.book.book import Book
from swarmbook.phases.support.members import watch_service
from swarmbook.phases.support.sql import place_of

__all__ = ["PORT", "Alert", "Prometheus", "Series", "Target", "prometheus", "whereabouts"]

#: Prometheus's, on its container's own address.
PORT = 9090
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Alert:
    """One alert that is on its way, or fires.

    Args:
        name: The rule's.
        state: pending or firing.
        severity: page or ticket.
        node: What it is about; nothing where it is about the whole.
        what: What is wrong, in words.
        next: The command to type.
        since: When it began, as Prometheus says it.
    """

    name: str
    state: str
    severity: str
    node: str
    what: str
    next: str
    since: str


@dataclass(frozen=True)
class Target:
    """One thing that is asked."""

    job: str
    node: str
    health: str
    error: str


@dataclass(frozen=True)
class Series:
    """A curve: what it is about, and its points (seconds since 1970, value)."""

    labels: dict[str, str]
    points: Sequence[tuple[float, float]]


class Prometheus:
    """The API behind one forwarded port.

    Args:
        node: The node that it runs on.
        port: On this computer's loopback.
    """

    def __init__(self, node: str, port: int) -> None:
        self.node = node
        self._base = f"http://127.0.0.1:{port}/api/v1"
        self._session = requests.Session()
        bound(self._session)
        self._session.trust_env = False  # a proxy of the environment's does not lead to this computer

    def _get(self, path: str, **query: str) -> Any:
        try:
            answer = self._session.get(f"{self._base}/{path}", params=query, timeout=_TIMEOUT_S)
            text = answer.text
        except Exception as error:
            if not foreign(error):
                raise
            raise WorldError(
                f"Prometheus on {self.node} does not answer",
                where=self.node,
                wanted="its HTTP API",
                seen=words(error),
                next="swarmbook run PARAMS --only 24",
            ) from None
        with understood(self.node):
            found = plain_data(answer.json())
            if found["status"] != "success":
                raise ValueError(line(text))
            return found["data"]

    def alerts(self) -> list[Alert]:
        """List the alerts that fire or are on their way, those that wake someone first."""
        found = self._get("alerts")["alerts"]
        with understood(self.node):
            alerts = [_alert(each) for each in found]
        return sorted(alerts, key=lambda a: (a.state != "firing", a.severity != "page", a.name, a.node))

    def targets(self) -> list[Target]:
        """List what is asked, and whether it answers."""
        found = self._get("targets", state="active")["activeTargets"]
        with understood(self.node):
            return sorted(
                (
                    Target(
                        line(str(each["labels"]["job"])),
                        line(str(each["labels"].get("node", ""))),
                        line(str(each["health"])),
                        line(str(each["lastError"])),
                    )
                    for each in found
                ),
                key=lambda target: (target.job, target.node),
            )

    def rules(self) -> list[tuple[str, str]]:
        """List the alerts' rules, with how each fares: ok, err or unknown."""
        found = self._get("rules", type="alert")["groups"]
        with understood(self.node):
            return [(line(str(rule["name"])), line(str(rule["health"]))) for group in found for rule in group["rules"]]

    def value(self, query: str) -> list[Series]:
        """Ask for values of now.

        Args:
            query: In PromQL.
        """
        found = self._get("query", query=query)["result"]
        with understood(self.node):
            return [_series(each, [each["value"]]) for each in found]

    def course(self, query: str, seconds: float, step_s: float) -> list[Series]:
        """Ask for the course of values until now.

        Args:
            query: In PromQL.
            seconds: How long ago it begins.
            step_s: From one point to the next, seconds.
        """
        now = time.time()
        found = self._get(
            "query_range", query=query, start=f"{now - seconds:.3f}", end=f"{now:.3f}", step=f"{step_s:g}"
        )["result"]
        with understood(self.node):
            return [_series(each, each["values"]) for each in found]


def _alert(each: Any) -> Alert:
    labels, words = each["labels"], each["annotations"]
    return Alert(
        line(str(labels["alertname"])),
        line(str(each["state"])),
        line(str(labels.get("severity", ""))),
        line(str(labels.get("node", ""))),
        line(str(words.get("what", ""))),
        line(str(words.get("next", ""))),
        line(str(each["activeAt"])),
    )


def _series(each: Any, values: Any) -> Series:
    labels = {line(str(name)): line(str(value)) for name, value in each["metric"].items()}
    return Series(labels, [(float(at), float(value)) for at, value in values])


def whereabouts(book: Book) -> tuple[str, str]:
    """Return the node that Prometheus runs on, and its address there.

    Args:
        book: The open book.

    Raises:
        OutOfOrder: It runs nowhere.
    """
    service = watch_service(book.params, "prometheus")
    places = book.fleet.each(lambda host: host.ask(place_of(service), quiet=True), book.ready())
    found = next(((node, place.address) for node, place in places.items() if place.address), None)
    if found is None:
        ended = "; ".join(f"{node}: {place.ended}" for node, place in places.items() if place.ended)
        raise OutOfOrder(
            "run 24 first: Prometheus runs nowhere",
            where=f"cluster {book.cluster.name}",
            wanted=f"a running container of the service {service}",
            seen=ended or "none",
            next="swarmbook run PARAMS --only 24",
        )
    return found


@contextlib.contextmanager
def prometheus(book: Book) -> Iterator[Prometheus]:
    """Reach Prometheus through SSH, for as long as this lasts.

    Args:
        book: The open book.

    Raises:
        OutOfOrder: It runs nowhere.
    """
    node, address = whereabouts(book)
    with book.fleet[node].forward(address, PORT) as port:
        yield Prometheus(node, port)
