"""Every parameter once: its schema, and what must not contradict what."""

from swarmbook.params.checks import Mistake
from swarmbook.params.reading import (
    differing,
    load_params,
    mistakes_in,
    params_from_namespace,
    params_from_record,
)
from swarmbook.params.schema import Params, phase_params

__all__ = [
    "Mistake",
    "Params",
    "differing",
    "load_params",
    "mistakes_in",
    "params_from_namespace",
    "params_from_record",
    "phase_params",
]
