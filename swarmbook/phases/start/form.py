"""A form for a parameter file: it validates as one types, and writes the file, of which it changes only what was changed."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from swarmbook.base.files import write_atomic
from swarmbook.base.markup import escape, tag
from swarmbook.book.book import Book
from swarmbook.book.display import display
from swarmbook.book.step import look
from swarmbook.model.checks import Table
from swarmbook.params import Params, load_params, mistakes_in
from swarmbook.show.widgets import somebody_watches

__all__ = ["Form", "edit", "rewrite"]

#: What a reader sets first; the rest is folded away.
_FIRST = (
    "cluster", "nodes", "provider", "hosts", "ssh_key_file", "swarm_managers", "datacenter", "storage_layout", "docker_disk", "overlay_subnet",
    "mariadb_cluster_name", "mariadb_port", "mariadb_database", "mariadb_user",
)  # fmt: skip


def _yaml(value: Any) -> str:
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True))
        .removesuffix("...\n")
        .strip()
    )


def rewrite(text: str, values: Mapping[str, Any]) -> str:
    """Rewrite a parameter file with other values; comments, order, and what stays the same are left as they are.

    Args:
        text: The file.
        values: All parameters that should not have their default.

    Returns:
        The file as it should be. A key that was there and is to have its default again keeps its line, with the default.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    loader = yaml.SafeLoader("")
    spans: list[tuple[int, int, str]] = []
    there = set()
    for key_node, value_node in root.value if root is not None else ():
        name = str(key_node.value)
        there.add(name)
        wanted = values[name] if name in values else Params.model_fields[name].default
        if loader.construct_object(value_node, deep=True) != wanted:
            # To YAML, a list in several lines ends where the next thing begins, comments and all: here, with its last entry.
            in_lines = isinstance(value_node, yaml.SequenceNode) and not value_node.flow_style
            end = value_node.value[-1].end_mark.index if in_lines else value_node.end_mark.index
            start = value_node.start_mark.index
            if value_node.start_mark.line > key_node.end_mark.line:  # below its key: onto the key's line
                start = text.index(":", key_node.end_mark.index) + 1
            spans.append((start, end, (" " if start != value_node.start_mark.index else "") + _yaml(wanted)))
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    added = [f"{name}: {_yaml(value)}\n" for name, value in values.items() if name not in there]
    return text + ("" if not added or not text or text.endswith("\n") else "\n") + "".join(added)


class Form:
    """The form of one file, as widgets.

    Args:
        path: The file; made when it is saved for the first time.
    """

    def __init__(self, path: Path) -> None:
        import ipywidgets as w

        self.path = path
        values = load_params(path).model_dump() if path.exists() else Params().model_dump()
        self.fields = {name: _widget(name, values[name]) for name in Params.model_fields}
        self.notes = {name: w.HTML() for name in Params.model_fields}
        self.save = w.Button(description="Save", tooltip=str(path))
        self.status = w.HTML()
        for field in self.fields.values():
            field.observe(lambda _: self.check(), "value")
        self.save.on_click(lambda _: self.write())
        rest = w.Accordion(
            [w.VBox([self._row(name) for name in Params.model_fields if name not in _FIRST])], titles=("All the rest",)
        )
        self.box = w.VBox([*(self._row(name) for name in _FIRST), rest, w.HBox([self.save, self.status])])
        self.check()

    def _row(self, name: str) -> Any:
        import ipywidgets as w

        help = w.HTML(tag("span", Params.model_fields[name].description or "", style="opacity: 0.75"))
        return w.VBox([w.HBox([self.fields[name], help]), self.notes[name]])

    def values(self) -> dict[str, Any]:
        """Return what is typed, read as YAML is; what cannot be read stays text, and is a mistake then."""
        return {name: _read(name, field.value) for name, field in self.fields.items()}

    def check(self) -> bool:
        """Show below each field what is wrong with it; tell whether all is fine."""
        wrong: dict[str, str] = {}
        for mistake in mistakes_in(self.values()):
            wrong.setdefault(mistake.key, f"✘ {mistake.what}; {mistake.fix}")
        for name, note in self.notes.items():
            note.value = tag("b", wrong[name]) if name in wrong else ""
        self.save.disabled = bool(wrong)
        self.status.value = f"✘ {len(wrong)} to fix" if wrong else f"✔ swarmbook run {escape(self.path)}"
        return not wrong

    def write(self) -> None:
        """Write the file, if nothing is wrong."""
        if self.check():
            defaults = {name: field.default for name, field in Params.model_fields.items()}
            chosen = {
                name: value for name, value in self.values().items() if value != defaults[name] or name == "cluster"
            }
            write_atomic(
                self.path, rewrite(self.path.read_text(encoding="utf-8") if self.path.exists() else "", chosen)
            )
            self.status.value = f"✔ saved: {escape(self.path)}"


def _widget(name: str, value: Any) -> Any:
    import ipywidgets as w

    annotation = Params.model_fields[name].annotation
    style = {
        "style": {"description_width": "12em"},
        "layout": {"width": "32em", "min_width": "32em"},
        "description": name,
    }
    if typing.get_origin(annotation) is typing.Literal:
        return w.Dropdown(options=typing.get_args(annotation), value=value, **style)
    if annotation is bool:
        return w.Checkbox(value=value, indent=True, **style)
    return w.Text(value=", ".join(value) if isinstance(value, list) else str(value), **style)


def _read(name: str, typed: Any) -> Any:
    annotation = str(Params.model_fields[name].annotation)
    if not isinstance(typed, str):
        return typed
    if "list" in annotation:
        return [word.strip() for word in typed.split(",") if word.strip()]
    if "Literal" in annotation:
        return typed
    for kind in (int, float):
        if f"{kind.__name__}" in annotation and "str" not in annotation:
            try:
                return kind(typed)
            except ValueError:
                return typed
    return typed


@look(hosts=0)
def edit(book: Book) -> Table:
    """Show a form for ``params/CLUSTER.yaml``; in a headless run, the contents of that file."""
    path = book.cluster.root / "params" / f"{book.cluster.name}.yaml"
    params = load_params(path) if path.exists() else Params(cluster=book.cluster.name)
    fields = Params.model_fields
    set_here = {name: value for name, value in params.model_dump().items() if value != fields[name].default}
    if somebody_watches():
        display(Form(path).box)
    rows = [[name, json.dumps(value), fields[name].description] for name, value in set_here.items()]
    return Table(["parameter", "value", "meaning"], rows)
