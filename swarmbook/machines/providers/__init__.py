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
    """Tell whether these machines cost money, so that ORDER must be typed; needs no request to the provider."""
    return bool(params.provider == "softlayer" or (params.provider == "lab" and params.lab_hourly_cost > 0))


def rehearsed(params: Params) -> bool:
    """Tell whether machines of these parameters only look rented."""
    return bool(
        params.provider == "softlayer"
        and (params.sl_endpoint == "rehearsal" or urlsplit(params.sl_endpoint).hostname in CLOSED_OFF)
    )


def provider_for(book: Book) -> Provider:
    """Return the provider that the parameters name."""
    if book.params.provider == "lab":
        from swarmbook.machines.providers.lab import LabProvider

        return LabProvider(book)
    if book.params.provider == "generic":
        from swarmbook.machines.providers.generic import GenericProvider

        return GenericProvider(book)
    if book.params.provider == "softlayer":
        from swarmbook.machines.providers.softlayer import SoftLayerProvider

        return SoftLayerProvider(book)
    raise UsageError(f"there is no provider {book.params.provider}", next="swarmbook params")
