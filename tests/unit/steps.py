"""A step for tests: its verbs are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change

__all__ = ["made_step"]


def nothing(*_: Any) -> None:
    return None


def made_step(
    name: str,
    *,
    plan: Callable[[Any, Any], list[Change]],
    observe: Callable[[Any], Any] = nothing,
    want: Callable[[Any, Any], Any] = lambda book, seen: book.params,
    apply: Callable[..., None] = nothing,
    verify: Callable[[Any, Any], Any] = lambda wanted, seen: [],
    assume: Callable[[Any, Any, Any], Any] | None = None,
    forecast: Callable[[Any, Any, Any], None] = nothing,
) -> Step[Any, Any]:
    """A step of these verbs; without ``assume`` it asks no node."""
    verbs: dict[str, Any] = {
        "observe": observe,
        "want": want,
        "plan": plan,
        "apply": apply,
        "verify": verify,
        "forecast": forecast,
        **({"assume": assume} if assume else {}),
    }
    members = {verb: staticmethod(function) for verb, function in verbs.items()}
    return type("Made", (Step,), {"name": name, "asks_nodes": assume is not None, **members})()  # type: ignore[no-any-return]


MAKE = Action.MAKE_FOLDER
