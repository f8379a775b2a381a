"""Phase 01: an SSH key, the price, the machines, and whether they are fit. Phase 91: their end."""

from swarmbook.phases.provision.preflight_checks import preflight
from swarmbook.phases.provision.step import cancel, doomed, key, machines, price, reach

__all__ = ["cancel", "doomed", "key", "machines", "preflight", "price", "reach"]
