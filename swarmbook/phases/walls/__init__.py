"""The wall around each node: put up at the beginning of 03, looked at from outside in 05."""

from swarmbook.phases.walls.look import from_outside
from swarmbook.phases.walls.step import build

__all__ = ["build", "from_outside"]
