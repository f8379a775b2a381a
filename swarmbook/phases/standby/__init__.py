"""Phase 28: a second cluster that follows the first one, and takes its place when it has to."""

from swarmbook.phases.standby.lag import lag
from swarmbook.phases.standby.step import follow
from swarmbook.phases.standby.take_over import take_over

__all__ = ["follow", "lag", "take_over"]
