"""Where machines come from."""

from __future__ import annotations

from urllib.parse import urlsplit

from swarmbook.base.errors import UsageError
from swarmbook.book.book import Book
from swarmbook.machines.providers.base import Provider
from swarmbook.machines.softlayer_api import CLOSED_OFF
from swarmbook.params import Params

__all__ = ["Provider", "costs_money", "provider_for", "rehearsed"]


def costs_money(params: Params) -> bool:
    """Whether machines of these parameters are paid for, so that ORDER is asked for; nobody is asked to find out."""
    return bool(params.provider == "softlayer" or (params.provider == "lab" and params.lab_hourly_cost > 0))


def rehearsed(params: Params) -> bool:
    """Whether machines of these parameters only look rented."""
    return bool(
        params.provider == "softlayer"
        and (params.sl_endpoint == "rehearsal" or urlsplit(params.sl_endpoint).hostname in CLOSED_OFF)
    )


def provider_for(book: Book) -> Provider:
    """The provider that the parameters name."""
    if book.params.provider == "lab":
        from swarmbook.machines.providers.lab import LabProvider

        return LabProvider(book)
    if book.params.provider == "generic":
        from swarmbook.machines.providers.generic import GenericProvider

        return GenericProvider(book)
    if book.params.provider == "softlayer":
        from swarmbook.machines.providers.softlayer import SoftLayerProvider

        return SoftLayerProvider(book)
    raise UsageError(f"no such provider: {book.params.provider}", next="swarmbook params")
