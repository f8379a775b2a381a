"""Where machines come from."""

from __future__ import annotations

from ..book import Book
from ..errors import UsageError
from .base import Provider

__all__ = ["Provider", "provider_for"]


def provider_for(book: Book) -> Provider:
    """The provider that the parameters name."""
    if book.params.provider == "lab":
        from .lab import LabProvider

        return LabProvider(book)
    raise UsageError(f"no such provider: {book.params.provider}", next="swarmbook params")
