"""Names of our own that stand in records and on screens: chapters, files, words for how something ended, codes, actions.

They are structure, and no text of others': no mask takes one for a secret, and no secret may be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from swarmbook.base.codes import Code
from swarmbook.base.secrets import structure
from swarmbook.model import states
from swarmbook.model.change import Action
from swarmbook.model.ledger import EVENTS
from swarmbook.model.phases import PHASES, ROTATIONS

__all__ = ["keep_names"]

_FILES = (
    "ledger.jsonl",
    "manifest.json",
    "summary.json",
    "report.html",
    "plan.json",
    "parameters.yaml",
    "environment.json",
)


def keep_names(more: Iterable[str] = ()) -> None:
    """Say what of ours is never masked.

    Args:
        more: Names of the cluster: its own, its nodes', those in its database.
    """
    structure({*_ours(), *filter(None, more)})


def _ours() -> Iterator[str]:
    yield from _FILES
    yield from EVENTS
    yield from ROTATIONS
    yield from (code.value for code in Code)
    yield from (action.value for action in Action)
    yield from (word for name, word in vars(states).items() if name.isupper() and isinstance(word, str))
    for phase in PHASES.values():
        yield from (phase.file, phase.file.removesuffix(".ipynb"), phase.name, phase.kind.value)
        yield from (word for step in phase.steps for word in step.split(":"))
