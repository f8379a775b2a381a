"""How long certificates have left: phase 05 shows it, and ``swarmbook status``."""

from __future__ import annotations

from pathlib import Path

from swarmbook.access.cluster import Cluster
from swarmbook.access.pki import Authority, Purpose, days_left, end_of
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Table

__all__ = ["left", "summary", "table"]


def table(book: Book) -> Table:
    """List the cluster's authorities and certificates, by purpose, with the days that each has left.

    Args:
        book: The open book.
    """
    rows = []
    for purpose in Purpose:
        folder = book.cluster.pki_folder / purpose.value
        if not Authority.there(folder):
            continue
        authority = book.authority(purpose)
        rows.append(_row(purpose, "its CA", authority.certificate, _of_authority(book, authority)))
        for file in _leaves(folder):
            certificate = file.read_bytes()
            late = days_left(certificate) < book.params.certificate_renew_days
            rows.append(_row(purpose, file.stem, certificate, "the next run renews it" if late else ""))
    return Table(["for", "certificate", "ends", "days left", "then"], rows)


def _row(purpose: Purpose, name: str, certificate: bytes, then: str) -> list[str]:
    return [purpose.value, name, f"{end_of(certificate):%Y-%m-%d}", _in_words(days_left(certificate)), then]


def _in_words(days: int, unit: str = "") -> str:
    """Say how many days are left, or how long ago it was."""
    if days < 0:
        return f"ended {many(-days - 1, 'day')} ago" if days < -1 else "ended within the last day"
    return many(days, unit) if unit else str(days)


def _of_authority(book: Book, authority: Authority) -> str:
    if len(authority.generations) > 1:
        return f"is being replaced: {authority.stage.value}"
    # A certificate cannot outlive its authority, so in that year each one lives shorter than the last.
    return "replace it soon" if days_left(authority.certificate) < book.params.certificate_days else ""


def summary(cluster: Cluster) -> str:
    """Say for each purpose how many days its authority and the first of its certificates to end have left.

    Args:
        cluster: The cluster.
    """
    parts = []
    for purpose in Purpose:
        folder = cluster.pki_folder / purpose.value
        if Authority.there(folder):
            days = [days_left(file.read_bytes()) for file in _leaves(folder)]
            first = f"{_in_words(min(days), 'day')}, " if days else ""
            parts.append(
                f"{purpose.value} {first}its CA {_in_words(days_left((folder / 'ca.pem').read_bytes()), 'day')}"
            )
    return "; ".join(parts) or "none yet"


def _leaves(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.pem")) if file.stem != "ca" and not file.stem.startswith("ca-")]


@look(hosts=0)
def left(book: Book) -> Table:
    """Show what certificates the cluster has, and how long each has left."""
    return table(book)
