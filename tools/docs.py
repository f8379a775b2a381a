"""Write the pages of docs/ that have their source elsewhere, and check the links of all pages.

``parameters.md`` comes from the schema, ``troubleshooting.md`` from the known failures, ``how-it-is-built.svg`` and the tree in
``how-it-is-built.md`` from the folders, the docstrings and the real imports.

Usage: python tools/docs.py [--check]     (--check writes nothing; exit 1 when a page is out of date or a link leads nowhere)
"""

from __future__ import annotations

import ast
import html
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import grimp

from swarmbook.base.known import known
from swarmbook.model.phases import PHASES
from swarmbook.params import Params, phase_params

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "swarmbook"
_GROUPS = {"sl_": "Rented machines", "lab_": "Machines of the lab", "mariadb_": "The database", "galera_": "The database", "consul_": "Consul", "overlay_": "The network"}  # fmt: skip


def parameters() -> str:
    """Render the page of every parameter: type, default, notebooks, meaning."""
    rows: dict[str, list[str]] = {}
    for name, field in Params.model_fields.items():
        group = next((title for prefix, title in _GROUPS.items() if name.startswith(prefix)), "General")
        kind = str(field.annotation).replace("typing.", "")
        if kind.startswith("Literal"):
            kind = " or ".join(f"`{value}`" for value in field.annotation.__args__)  # type: ignore[union-attr]
        else:
            kind = next(word for word in ("list", "bool", "float", "int", "str") if word in kind or word == "str")
        used = [number for number in PHASES if name in phase_params(number)]
        meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
        rows.setdefault(group, []).append(
            f"| `{name}` | {kind} | `{json.dumps(field.default)}` | {'all' if len(used) == len(PHASES) else ' '.join(used) or 'none: the command'} | {meaning} |"
        )
    order = ["General", *[title for title in dict.fromkeys(_GROUPS.values()) if title in rows]]
    tables = "\n".join(
        f"## {title}\n\n| name | type | default | notebooks | meaning |\n|---|---|---|---|---|\n"
        + "\n".join(rows[title])
        + "\n"
        for title in order
    )
    return (
        "# Parameters\n\nGenerated from `swarmbook/params/schema.py` by `tools/docs.py`; `swarmbook params` prints the same.\n"
        "A parameter file is flat YAML; a parameter that it does not name has its default.\n"
        "Unknown keys, wrong types, duplicates and contradicting values are all reported together, before anything is touched.\n\n"
        + tables
    )


def troubleshooting() -> str:
    """Render the page of every known failure: what it means, how to fix it, and the test that makes it happen."""
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


@lru_cache(maxsize=1)
def _graph() -> grimp.ImportGraph:
    """Build the graph of swarmbook's imports, as they are."""
    return grimp.build_graph("swarmbook", exclude_type_checking_imports=True)


def _first_line(file: Path) -> str:
    """Return the first paragraph of a module's docstring, on one line and up to its first full stop."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.:])\s(?=[A-Z])", paragraph, maxsplit=1)[0].removesuffix("::").strip()


def _layer_names() -> list[str]:
    """List the names of the layers, top to bottom: the lowest imports no other one."""
    graph = _graph()
    names = graph.find_children("swarmbook") - {"swarmbook.testing"}
    height = dict.fromkeys(names, 0)
    below = {
        name: {other for other in names if other != name and graph.find_shortest_chains(name, other, as_packages=True)}
        for name in names
    }
    for _ in names:
        height = {name: max((height[other] + 1 for other in below[name]), default=0) for name in names}
    return [name.rpartition(".")[2] for name in sorted(names, key=lambda name: (-height[name], name))]


def _source(module: str) -> Path:
    """Return the file of a module or package, by its dotted name."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def layers() -> list[tuple[list[str], str]]:
    """List the layers, top to bottom: the names of what is in each, and what it is for."""
    found = []
    for name in _layer_names():
        module = f"swarmbook.{name}"
        inside = sorted(child.rpartition(".")[2] for child in _graph().find_children(module))
        found.append(([f"{name}/" if inside else name, *inside], _first_line(_source(module))))
    return found


def _imports(module: str) -> list[str]:
    """List the layers that a module imports, top to bottom; without its own."""
    imported = {name.split(".")[1] for name in _graph().find_modules_directly_imported_by(module) if "." in name}
    order = [*_layer_names(), "testing"]
    return [name for name in order if name in imported - {module.split(".")[1]}]


def _branches(module: str, depth: int) -> Iterator[tuple[str, str, list[str]]]:
    """Yield a module and everything below it: its name as drawn, what it is for, the layers that it imports."""
    children = sorted(_graph().find_children(module), key=lambda name: (bool(_graph().find_children(name)), name))
    name = module.rpartition(".")[2] + ("/" if children else ".py")
    yield "  " * depth + name, _first_line(_source(module)), _imports(module)
    for child in children:
        yield from _branches(child, depth + 1)


def tree() -> str:
    """Draw folders and files, top layer first; after the arrow, the layers that a file imports."""
    rows = [row for name in [*_layer_names(), "testing"] for row in _branches(f"swarmbook.{name}", 1)]
    wide = max(len(name) for name, _, _ in rows) + 2
    lines = [
        f"{name:<{wide}}{what}{'  → ' + ' '.join(imported) if imported else ''}".rstrip()
        for name, what, imported in rows
    ]
    return "```text\nswarmbook/\n" + "\n".join(lines) + "\n```"


def built() -> str:
    """Return how-it-is-built.md with the tree between its markers drawn again."""
    page = (DOCS / "how-it-is-built.md").read_text(encoding="utf-8")
    begin, end = "<!-- tree: written by tools/docs.py -->", "<!-- /tree -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{tree()}\n{end}{rest.partition(end)[2]}"


_STYLE = """<style>
  .page { fill: #ffffff; stroke: #d0d7de } .row { fill: #f6f8fa; stroke: #afb8c1 } .ink { fill: #1f2328 } .faint { fill: #59636e } .wire { stroke: #59636e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d } .row { fill: #151b23; stroke: #656c76 } .ink { fill: #f0f6fc } .faint { fill: #9198a1 } .wire { stroke: #9198a1 }
  }
  text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif; font-size: 12px } .name { font-weight: 600 }
</style>"""
_WIDE, _CHARACTERS = 960, 126


def picture() -> str:
    """Draw the layers as rows, top to bottom."""
    drawn, y = [], 20
    for at, (names, what) in enumerate(layers(), 1):
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
    words = "; ".join(f"row {at}: {what}" for at, (_, what) in enumerate(layers(), 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{y}" viewBox="0 0 {_WIDE} {y}" role="img" aria-labelledby="title desc">\n'
        f'<title id="title">How swarmbook is built</title>\n<desc id="desc">{html.escape(words)}</desc>\n{_STYLE}\n'
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDE - 1}" height="{y - 1}" rx="10"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


PAGES = {
    "parameters.md": parameters,
    "troubleshooting.md": troubleshooting,
    "how-it-is-built.md": built,
    "how-it-is-built.svg": picture,
}

_LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def _anchors(page: Path) -> set[str]:
    """Return what a link into a page may name: its headings as GitHub spells them, and ids."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'id="([^"]+)"', text))


def broken_links() -> list[str]:
    """List the pages' relative links that lead to no file, or to no heading in it."""
    found = []
    for page in [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]:
        prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in (one or other for one, other in _LINK.findall(prose)):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
                found.append(f"{page.relative_to(ROOT)}: the link {link} leads nowhere")
    return found


def main(arguments: list[str]) -> int:
    """Write the pages, or report which are out of date."""
    stale = [
        name
        for name, page in PAGES.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != page()
    ]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} is out of date: python tools/docs.py")
        broken = broken_links()
        for line in broken:
            print(line)
        return 1 if stale or broken else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
