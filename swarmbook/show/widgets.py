"""What an interactive notebook may show beside its tables: a box in which a word is typed. Nothing depends on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from swarmbook.base.markup import joined, tag
from swarmbook.base.secrets import mask
from swarmbook.base.words import many
from swarmbook.model.rundir import RunFolder

__all__ = ["confirm_box", "somebody_watches"]


def somebody_watches() -> bool:
    """Tell whether this is a kernel that no run has started: there may be a person, who may click."""
    if RunFolder.of_this_process() is not None:
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def confirm_box(word: str, things: Sequence[str], say: Callable[[], None]) -> Any:
    """Build a box that names what would be done, and takes the word for it.

    Args:
        word: ORDER, DESTROY or CANCEL.
        things: What it stands for, line by line.
        say: Called once, when the word was typed and the button pressed.

    Returns:
        The widget; its parts are ``word``, ``button`` and ``status``.
    """
    import ipywidgets as w

    does = "will be ordered" if word == "ORDER" else "will be removed, for good"
    rows = joined(tag("li", mask(thing)) for thing in things)
    field = w.Text(placeholder=f"type {word}", description="Word:", continuous_update=True)
    button = w.Button(
        description=word.capitalize(),
        disabled=True,
        button_style="" if word == "ORDER" else "danger",
        tooltip=f"{many(len(things), 'thing')} {does}",
    )
    status = w.HTML(f"Type {word} and press the button; then run the cell again.")

    def typed(change: Any) -> None:
        button.disabled = change["new"] != word

    def pressed(_: Any) -> None:
        if field.value == word and not field.disabled:
            field.disabled = button.disabled = True
            status.value = f"✔ {word}: run the cell again. It does what stands here, once, and nothing else."
            say()

    field.observe(typed, "value")
    button.on_click(pressed)
    box = w.VBox([w.HTML(tag("b", f"This {does}:") + tag("ul", rows)), w.HBox([field, button]), status])
    box.word, box.button, box.status = field, button, status
    return box
