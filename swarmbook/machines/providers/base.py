"""What a provider must do: plan with cost, provision, wait, list, destroy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from swarmbook.access.node import Node
from swarmbook.model.change import Change
from swarmbook.model.checks import Check
from swarmbook.model.health import MachineState

__all__ = ["Found", "Offer", "Provider"]


@dataclass(frozen=True)
class Found:
    """A machine as its provider knows it; ``note`` says more of its state, for people."""

    name: str
    id: str
    state: MachineState
    private_address: str
    public_address: str
    note: str = ""

    @property
    def word(self) -> str:
        """Its state, for people."""
        return f"{self.state}: {self.note}" if self.note else str(self.state)


@dataclass(frozen=True)
class Offer:
    """What one machine would be and cost; ``monthly_cost`` where it is billed by the month."""

    name: str
    what: str
    hourly_cost: float
    monthly_cost: float = 0.0

    @property
    def price(self) -> str:
        """For a person."""
        return f"{self.monthly_cost:.2f} a month" if self.monthly_cost else f"{self.hourly_cost:.3f} an hour"


class Provider(Protocol):
    """Machines of one cluster. Every method may be called again at any time and goes on from what is there."""

    name: str

    def prerequisites(self) -> list[Check]:
        """Check what it needs of this computer; nothing is installed, started or sent."""

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """Describe what the machines would be and cost; nothing is ordered."""

    def machines(self) -> list[Found]:
        """List the cluster's existing machines, in whatever state."""

    def states(self) -> dict[str, str]:
        """Return the state of each machine by name; under ``""``, why it is not known without starting anything."""

    def plan(self, names: Sequence[str], found: Sequence[Found]) -> list[Change]:
        """Plan what makes every named machine run; pure."""

    def provision(self, changes: Sequence[Change]) -> None:
        """Apply the plan, for all machines at once."""

    def wait(self, names: Sequence[str]) -> list[Node]:
        """Wait until the machines run and have addresses; return what the phases need to know about them."""

    def doomed(self) -> list[str]:
        """Name everything that :meth:`destroy` would remove."""

    def parts(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Name everything that :meth:`remove` would remove of these machines, each with its machine's name."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove these machines with their disks; those that are gone already are no error."""

    def destroy(self) -> list[str]:
        """Remove machines, disks, keys and networks; return their names."""
