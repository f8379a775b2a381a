"""Writes the pages of docs/ that have their source elsewhere: parameters.md from the schema, troubleshooting.md from the known failures, and
the picture of how-it-is-built.md from the table of rooms in it.

Usage: python tools/docs.py [--check]     (--check writes nothing; exit 1 when a page is not as its source has it)
"""

from __future__ import annotations

import ast
import html
import json
import sys
import textwrap
from pathlib import Path

import grimp

from swarmbook.base.known import known
from swarmbook.model.phases import PHASES
from swarmbook.params import Params, phase_params

DOCS = Path(__file__).resolve().parents[1] / "docs"
_GROUPS = {"sl_": "Rented machines", "lab_": "Machines of the lab", "mariadb_": "The database", "galera_": "The database", "consul_": "Consul", "overlay_": "The network"}  # fmt: skip


def parameters() -> str:
    """Every parameter: type, default, notebooks, meaning."""
    rows: dict[str, list[str]] = {}
    for name, field in Params.model_fields.items():
        group = next((title for prefix, title in _GROUPS.items() if name.startswith(prefix)), "All the rest")
        kind = str(field.annotation).replace("typing.", "")
        if kind.startswith("Literal"):
            kind = " or ".join(f"`{value}`" for value in field.annotation.__args__)  # type: ignore[union-attr]
        else:
            kind = next(word for word in ("list", "bool", "float", "int", "str") if word in kind or word == "str")
        used = [number for number in PHASES if name in phase_params(number)]
        meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
        rows.setdefault(group, []).append(
            f"| `{name}` | {kind} | `{json.dumps(field.default)}` | {'all' if len(used) == len(PHASES) else ' '.join(used)} | {meaning} |"
        )
    order = ["All the rest", *[title for title in dict.fromkeys(_GROUPS.values()) if title in rows]]
    tables = "\n".join(
        f"## {title}\n\n| name | type | default | notebooks | meaning |\n|---|---|---|---|---|\n"
        + "\n".join(rows[title])
        + "\n"
        for title in order
    )
    return (
        "# Parameters\n\nWritten from `swarmbook/params/schema.py` by `tools/docs.py`; `swarmbook params` prints the same. A parameter file is flat YAML; what it does not\n"
        "name has its default. Unknown keys, wrong types, duplicates and values that do not fit each other are all told at once, before anything\nis touched.\n\n"
        + tables
    )


def troubleshooting() -> str:
    """Every known failure: what it means, how to fix it, and the test that makes it happen."""
    head = (
        "# Troubleshooting\n\nGenerated from `swarmbook/base/failures.yaml` by `tools/docs.py`. A known error names its section here; `swarmbook explain NAME` prints\n"
        "it. A test causes each of these failures for real and checks its message.\n\n| failure | codes |\n|---|---|\n"
    )
    table = "\n".join(
        f"| [{failure.title}](#{failure.name}) | {', '.join(f'`{code}`' for code in failure.codes)} |"
        for failure in known()
    )
    parts = [
        f'<a id="{failure.name}"></a>\n## {failure.title}\n\n{failure.means}\n\n**Fix.** {failure.fix}\n\n*Test:* `{failure.test}`.\n'
        for failure in known()
    ]
    return f"{head}{table}\n\n" + "\n".join(parts)


def rooms() -> list[tuple[list[str], str]]:
    """The layers, top to bottom: the names of what lies in each, and what it is for, from its folder and its docstring."""
    package = DOCS.parent / "swarmbook"
    graph = grimp.build_graph("swarmbook", exclude_type_checking_imports=True)
    layers = graph.find_children("swarmbook") - {"swarmbook.testing"}
    height = dict.fromkeys(layers, 0)
    below = {
        layer: {
            other for other in layers if other != layer and graph.find_shortest_chains(layer, other, as_packages=True)
        }
        for layer in layers
    }
    for _ in layers:
        height = {layer: max((height[other] + 1 for other in below[layer]), default=0) for layer in layers}
    found = []
    for layer in sorted(layers, key=lambda layer: (-height[layer], layer)):
        name = layer.rpartition(".")[2]
        folder = package / name
        file = folder / "__init__.py" if folder.is_dir() else package / f"{name}.py"
        what = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        inside = sorted(child.rpartition(".")[2] for child in graph.find_children(layer))
        found.append(([f"{name}/" if folder.is_dir() else name, *inside], what))
    return found


_STYLE = """<style>
  .page { fill: #ffffff; stroke: #d0d7de } .row { fill: #f6f8fa; stroke: #afb8c1 } .ink { fill: #1f2328 } .faint { fill: #59636e } .wire { stroke: #59636e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } .row { fill: #151b23; stroke: #656c76 } .ink { fill: #f0f6fc } .faint { fill: #9198a1 } .wire { stroke: #9198a1 }
  }
  text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif; font-size: 12px } .name { font-weight: 600 }
</style>"""
_WIDE, _CHARACTERS = 960, 126


def picture() -> str:
    """The rows of rooms, top to bottom."""
    drawn, y = [], 20
    for at, (names, what) in enumerate(rooms(), 1):
        lines = textwrap.wrap(" · ".join(name for name in names), _CHARACTERS)
        notes = textwrap.wrap(what.replace("`", ""), _CHARACTERS + 16)
        height = 18 * (len(lines) + len(notes)) + 16
        if at > 1:
            drawn.append(f'<path class="wire" d="M480 {y - 14} v8 m-4 -4 l4 4 l4 -4" fill="none"/>')
        drawn.append(f'<rect class="row" x="20" y="{y}" width="{_WIDE - 40}" height="{height}" rx="6"/>')
        for number, line in enumerate([*lines, *notes]):
            kind = "ink name" if number < len(lines) else "faint"
            drawn.append(f'<text class="{kind}" x="34" y="{y + 21 + 18 * number}">{html.escape(line)}</text>')
        y += height + 18
    told = "; ".join(f"row {at}: {what}" for at, (_, what) in enumerate(rooms(), 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{y}" viewBox="0 0 {_WIDE} {y}" role="img" aria-labelledby="title desc">\n'
        f'<title id="title">How swarmbook is built</title>\n<desc id="desc">{html.escape(told)}</desc>\n{_STYLE}\n'
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDE - 1}" height="{y - 1}" rx="10"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


PAGES = {"parameters.md": parameters, "troubleshooting.md": troubleshooting, "how-it-is-built.svg": picture}


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    stale = [
        name
        for name, page in PAGES.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != page()
    ]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} is out of date: python tools/docs.py")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
