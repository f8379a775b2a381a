"""Parameters as one phase may see them."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel

__all__ = ["Guarded"]

#: Methods of the parameters, and the parameter that each reads.
_READS = {
    "managers": "swarm_managers",
    "members": "galera_nodes",
    "walled": "firewall",
    "packages_go": "undo_packages",
}


class Guarded:
    """The parameters of one phase: reading one that its notebook does not declare is an error of the library.

    Args:
        params: All of them.
        phase: The phase's number; empty: none.
        allowed: Names of those that it declares.
    """

    def __init__(self, params: BaseModel, phase: str, allowed: Collection[str]) -> None:
        self._params, self._allowed = params, frozenset(allowed)
        self.phase = phase

    def __getattr__(self, name: str) -> object:
        read = _READS.get(name, name)
        if read in type(self._params).model_fields and read not in self._allowed:
            raise AttributeError(
                f"phase {self.phase} reads the parameter {read!r}, which its notebook does not declare"
            )
        return getattr(self._params, name)
