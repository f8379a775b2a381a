"""Expect an error by its code, so that its sentence may be reworded."""

from __future__ import annotations

from types import TracebackType

from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError

__all__ = ["raises"]


class raises:
    """Expect an error with a code.

    Example:
        >>> with raises(Code.PARAMETERS_NOT_READ, "nowhere.yaml") as caught:
        ...     load_params("nowhere.yaml")
        >>> caught.value.exit_code
        2

    Args:
        code: Its code.
        names: What the error names somewhere: a host, a file, a value.
    """

    value: SwarmbookError

    def __init__(self, code: Code, *names: str) -> None:
        self._code, self._names = code, names

    def __enter__(self) -> raises:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert error is not None, f"nothing was raised, where {self._code} was expected"
        if not isinstance(error, SwarmbookError):
            return False
        assert error.code is self._code, f"{error.code} was raised, where {self._code} was expected: {error}"
        missing = [name for name in self._names if name not in str(error)]
        assert not missing, f"the error does not name {', '.join(missing)}: {error}"
        self.value = error
        return True
