"""Where machines come from."""

from __future__ import annotations

from ..book import Book
from ..errors import UsageError
from ..params import Params, ParamView
from .base import Provider

__all__ = ["Provider", "costs_money", "provider_for"]


def costs_money(params: Params | ParamView) -> bool:
    """Whether machines of these parameters are paid for, so that ORDER is asked for; nobody is asked to find out."""
    return bool(params.provider != "lab" or params.lab_hourly_cost > 0)


def provider_for(book: Book) -> Provider:
    """The provider that the parameters name."""
    if book.params.provider == "lab":
        from .lab import LabProvider

        return LabProvider(book)
    if book.params.provider == "softlayer":
        from .softlayer import SoftLayerProvider

        return SoftLayerProvider(book)
    raise UsageError(f"no such provider: {book.params.provider}", next="swarmbook params")
