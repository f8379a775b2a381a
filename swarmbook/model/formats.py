"""The one rule for what an earlier or a later swarmbook wrote: older formats are read, newer ones are refused."""

from __future__ import annotations

from dataclasses import dataclass

from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, UsageError

__all__ = ["Format"]


@dataclass(frozen=True)
class Format:
    """A format of ours, by the number that its files carry.

    Args:
        what: What a file of it is, such as ``the run``.
        newest: The number that this swarmbook writes.
        oldest: The oldest number that it still reads.
        next: What to do about one that it does not read.

    Example:
        >>> Format("the run", 1).refusal(2)
        'the run was written by a newer swarmbook: format 2, this one reads up to 1'
    """

    what: str
    newest: int
    oldest: int = 1
    next: str = "use the swarmbook that wrote it"

    def refusal(self, found: object) -> str:
        """Say in one line why a file cannot be read; empty if it can.

        Args:
            found: The number in the file; None for a file that carries none, which is then taken for the oldest.
        """
        number = self.oldest if found is None else found
        if not isinstance(number, int) or isinstance(number, bool):
            return f"{self.what} has no format that swarmbook ever wrote: {found!r:.40}"
        if number > self.newest:
            return f"{self.what} was written by a newer swarmbook: format {number}, this one reads up to {self.newest}"
        if number < self.oldest:
            return f"{self.what} was written by an older swarmbook: format {number}, this one reads from {self.oldest}"
        return ""

    def require(
        self, found: object, where: str, error: type[SwarmbookError] = UsageError, code: Code | None = None
    ) -> None:
        """Refuse what cannot be read.

        Args:
            found: The number in the file.
            where: The file.
            error: What is raised.
            code: The error's code.

        Raises:
            SwarmbookError: As ``error`` says: it is of a format that this swarmbook does not read.
        """
        if refusal := self.refusal(found):
            wanted = str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"
            raise error(
                refusal.partition(":")[0],
                where=where,
                wanted=f"format {wanted}",
                seen=f"format {found}",
                next=self.next,
                code=code,
            )
