"""Phase 24, at its end: the last minutes as curves."""

from __future__ import annotations

import time

from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Table
from swarmbook.phases.watch.api import Series, prometheus
from swarmbook.show.curves import Curve, curves

__all__ = ["PICTURES", "pictures"]

#: What is drawn: a title, the query, its unit, the label that names a curve.
PICTURES = (
    ("Members of the Galera cluster, as each member counts them", "mysql_global_status_wsrep_cluster_size", "", "node"),
    ("Commits a second that a member applies", "rate(mysql_global_status_wsrep_last_committed[1m])", "/s", "node"),
    (
        "Part of the time that replication stands still",
        "rate(mysql_global_status_wsrep_flow_control_paused_ns[1m]) / 1e9",
        "",
        "node",
    ),
    (
        "Processors at work",
        '1 - avg by (node) (rate(node_cpu_seconds_total{mode="idle"}[1m]))',
        "",
        "node",
    ),
)
_SECONDS = 900
_POINTS = 120


@look(hosts=0)
def pictures(book: Book) -> Table:
    """Draw what Prometheus knows of the last quarter of an hour, or since it is there."""
    step_s = max(book.params.watch_interval, _SECONDS / _POINTS)
    rows = []
    with prometheus(book) as asked:
        for title, query, unit, label in PICTURES:
            found = asked.course(query, _SECONDS, step_s)
            now = time.time()
            drawn = [
                Curve(each.labels.get(label, ""), [(at - now, value) for at, value in each.points]) for each in found
            ]
            if drawn:
                show_picture(curves(drawn, title, unit), f"{title}: the table below")
            rows += [[title, curve.name, *_figures(each)] for curve, each in zip(drawn, found)]
    return Table(["picture", "node", "least", "most", "now"], rows)


def _figures(found: Series) -> list[str]:
    values = [value for _, value in found.points]
    return [f"{value:.2f}".rstrip("0").rstrip(".") for value in (min(values), max(values), values[-1])]
