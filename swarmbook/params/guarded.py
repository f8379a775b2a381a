"""The parameters as one phase sees them: those that its notebook declares."""

from __future__ import annotations

__all__ = ["Guarded"]


class Guarded:
    """The parameters of one phase: reading one that its notebook does not declare is an error of the library.

    Args:
        params: All parameters.
        phase: The notebook's number.
        allowed: Names that it declares.
        all_of_them: Names of all.
    """

    def __init__(self, params: object, phase: str, allowed: frozenset[str], all_of_them: frozenset[str]) -> None:
        self._params = params
        self._allowed, self._all = allowed, all_of_them
        self.phase = phase

    def __getattr__(self, name: str) -> object:
        read = {
            "managers": "swarm_managers",
            "members": "galera_nodes",
            "walled": "firewall",
            "packages_go": "undo_packages",
        }.get(name, name)
        if read in self._all and read not in self._allowed:
            raise AttributeError(
                f"phase {self.phase} reads the parameter {read!r}, which its notebook does not declare"
            )
        return getattr(self._params, name)
