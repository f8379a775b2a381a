"""Holds the committed notebooks to the shape that the book promises its readers.

Usage: python tools/lint_notebooks.py [--parameters] [NOTEBOOK ...]     (default: notebooks/*.ipynb; exit 1 when something is wrong)

With --parameters, the parameters cells are first written as swarmbook.params has them.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.model.phases import PHASES
from swarmbook.params import Params, phase_params

ROOT = Path(__file__).resolve().parents[1]
HEADER = ("What it does", "What it can break", "How to undo it", "How long it takes")
STEP_LINES = 3
_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as promised."""

    path: Path
    cell: int | None
    what: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}: {f'cell {self.cell}: ' if self.cell is not None else ''}{self.what}"


@dataclass(frozen=True)
class Cell:
    """A cell with its number, counted from 1 as a reader counts."""

    number: int
    kind: str
    source: str
    tags: tuple[str, ...]


def lint(path: Path) -> list[Finding]:
    """List everything that is wrong with one notebook."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cells = [_cell(number, cell) for number, cell in enumerate(data["cells"], 1)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Finding(path, None, f"not a notebook: {error!r}")]
    phase = path.stem[:2]
    if phase not in PHASES or path.name != PHASES[phase].file:
        return [
            Finding(
                path, None, "no phase of that name: the file is called NN_NAME.ipynb, as swarmbook.model.phases has it"
            )
        ]
    if not cells:
        return [Finding(path, None, "empty")]
    found = [
        *_format(data, cells),
        *_first(cells[0]),
        *_parameters(phase, cells),
        *_code(cells),
        *_shadows(phase, cells),
        *_steps(phase, cells),
        *_last(cells),
        *_links(path, cells),
        *_spelling(cells),
    ]
    return [Finding(path, number, what) for number, what in found]


def parameter_line(name: str) -> str:
    """Return the line of a parameter as it has to stand in a parameters cell."""
    field = Params.model_fields[name]
    default = json.dumps(field.default) if isinstance(field.default, (str, list)) else repr(field.default)
    return f"{name}: {_annotation(field.annotation)} = {default}  # {field.description}"


def _annotation(annotation: Any) -> str:
    for kind in ("list", "bool", "float", "int"):
        if re.search(rf"\b{kind}\b", str(annotation)):
            return "list[str]" if kind == "list" else kind
    return "str"


def _cell(number: int, cell: dict[str, Any]) -> Cell:
    source = cell["source"]
    return Cell(
        number,
        cell["cell_type"],
        source if isinstance(source, str) else "".join(source),
        tuple(cell["metadata"].get("tags", ())),
    )


Findings = Iterator[tuple["int | None", str]]


def _format(data: dict[str, Any], cells: list[Cell]) -> Findings:
    version = f"{data.get('nbformat')}.{data.get('nbformat_minor')}"
    if version != "4.5":
        yield None, f"nbformat {version}, wanted 4.5 (cells with ids)"
    seen: dict[str, int] = {}
    for cell, raw in zip(cells, data["cells"]):
        id = raw.get("id")
        if not isinstance(id, str) or not _ID.match(id):
            yield cell.number, "no id, or one that nbformat does not take"
        elif id in seen:
            yield cell.number, f"has the id {id!r} of cell {seen[id]}"
        else:
            seen[id] = cell.number
        if raw.get("outputs") or raw.get("execution_count") is not None:
            yield (
                cell.number,
                "carries outputs or an execution count: clear them (jupyter nbconvert --clear-output --inplace)",
            )
        if "papermill" in raw["metadata"] or "execution" in raw["metadata"]:
            yield cell.number, "carries the metadata of an execution"
    if "papermill" in data.get("metadata", {}):
        yield None, "carries the metadata of a papermill run"


def _first(cell: Cell) -> Findings:
    if cell.kind != "markdown":
        yield (
            cell.number,
            "the first cell is markdown: title, what it does, what it can break, how to undo it, how long it takes",
        )
        return
    if len(_headings(cell, 1)) != 1:
        yield cell.number, f"{len(_headings(cell, 1))} H1, wanted exactly one"
    for words in HEADER:
        if words not in cell.source:
            yield cell.number, f"does not say “{words}”"


def _parameters(phase: str, cells: list[Cell]) -> Findings:
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    if len(tagged) != 1 or tagged[0].kind != "code":
        yield (
            (tagged[1].number if tagged[1:] else None),
            f"{len(tagged)} cells tagged `parameters`, wanted exactly one code cell",
        )
        return
    cell = tagged[0]
    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        yield cell.number, f"the parameters cell is not Python: {error.msg} in line {error.lineno}"
        return
    lines = cell.source.splitlines()
    have = []
    for statement in body:
        line = lines[statement.lineno - 1]
        if (
            not isinstance(statement, ast.AnnAssign)
            or not isinstance(statement.target, ast.Name)
            or statement.value is None
        ):
            yield cell.number, f"only `name: type = default  # help` may stand here, not: {line}"
            continue
        name = statement.target.id
        have.append(name)
        if name not in Params.model_fields:
            continue
        field = Params.model_fields[name]
        try:
            same = ast.literal_eval(statement.value) == field.default
        except ValueError:
            same = False
        comment = line[statement.end_col_offset :].strip() if statement.end_lineno == statement.lineno else ""
        annotation = ast.unparse(statement.annotation).partition("[")[0]
        if (
            not same
            or comment != f"# {field.description}"
            or annotation != _annotation(field.annotation).partition("[")[0]
        ):
            yield cell.number, f"not as the schema has it: {line}\n    wanted: {parameter_line(name)}"
    wanted = phase_params(phase)
    for name in [n for n in have if n not in wanted]:
        yield cell.number, f"{name} is no parameter of phase {phase}"
    for name in [n for n in wanted if n not in have]:
        yield cell.number, f"missing: {parameter_line(name)}"
    if sorted(have) == sorted(wanted) and have != wanted:
        yield cell.number, f"not in the schema's order: {', '.join(wanted)}"
    if any(c.kind == "code" for c in cells[: cell.number - 1]):
        yield cell.number, "code stands before the parameters cell"
    following = next((c for c in cells[cell.number :] if c.kind == "code"), None)
    if following is None or "bootstrap" not in following.tags:
        yield (
            (following.number if following else None),
            "the code cell after the parameters opens the book and is tagged `bootstrap`",
        )


def _code(cells: list[Cell]) -> Findings:
    for cell in cells:
        if cell.kind != "code":
            continue
        for line in cell.source.splitlines():
            if re.match(r"\s*(async\s+)?(def|class)\s", line):
                yield cell.number, f"defines something; that belongs into the library: {line.strip()}"
            if re.match(r"\s*[!%]", line):
                yield cell.number, f"runs a shell command or a magic: {line.strip()}"
        if {"parameters", "bootstrap"} & set(cell.tags):
            continue
        if not cell.source.strip():
            yield cell.number, "is empty"
        if len(cell.source.strip().splitlines()) > STEP_LINES:
            yield (
                cell.number,
                f"{len(cell.source.strip().splitlines())} lines, wanted at most {STEP_LINES}: the logic belongs into the library",
            )
        before = cells[cell.number - 2] if cell.number > 1 else None
        if before is None or before.kind != "markdown" or len(_headings(before, 2)) != 1:
            yield cell.number, "a step needs a markdown cell with exactly one H2 right before it"


def _shadows(phase: str, cells: list[Cell]) -> Findings:
    """Find imported modules with a parameter's name: they would take its place before the book is opened."""
    for cell in cells:
        for match in re.finditer(
            r"^from swarmbook\.phases import (.+)$", cell.source if cell.kind == "code" else "", re.MULTILINE
        ):
            for name in {name.strip() for name in match[1].split(",")} & set(phase_params(phase)):
                yield cell.number, f"imports {name}, which is a parameter of this notebook: its value is gone"


def _steps(phase: str, cells: list[Cell]) -> Findings:
    """Compare the cells with the library's own list of steps, by which a plan asks: they have to call just those."""
    wanted = [f"{step.replace(':', '.')}(book)" for step in PHASES[phase].steps]
    have = [
        cell.source.strip()
        for cell in cells
        if cell.kind == "code" and not {"parameters", "bootstrap"} & set(cell.tags)
    ]
    if have != wanted:
        yield None, f"its steps are {', '.join(have) or 'none'}; swarmbook.model.phases has {', '.join(wanted)}"


def _last(cells: list[Cell]) -> Findings:
    cell = cells[-1]
    if cell.kind != "markdown" or "Conclusion" not in _headings(cell, 2):
        yield cell.number, "the last cell is markdown with “## Conclusion”"
    elif not re.search(r"\bNext\b[^\n]*\]\([^)\s]+\)", cell.source):
        yield cell.number, "the conclusion has no link on a line that says “Next”"


def _links(path: Path, cells: Iterable[Cell]) -> Findings:
    for cell in cells:
        if cell.kind != "markdown":
            continue
        for target in _LINK.findall("\n".join(_prose(cell))):
            file = target.partition("#")[0]
            if file and not re.match(r"[a-z][a-z0-9+.-]*:", target) and not (path.parent / file).exists():
                yield cell.number, f"the link {target} leads nowhere"


#: Names of others, as those write them.
_NAMES = (
    "MariaDB", "Galera", "Docker", "Consul", "Debian", "Ubuntu", "JupyterLab", "papermill", "SoftLayer", "OpenSSH", "GitHub", "VXLAN", "IPVS", "GPT", "LVM", "btrfs",
    "nbval", "systemd", "Python", "Jepsen", "HashiCorp",
)  # fmt: skip
_WRITTEN = {name.lower(): name for name in _NAMES}
_NAME = re.compile(rf"(?<![\w./@-])({'|'.join(_NAMES)})(?![\w/@-]|[.:]\w)", re.IGNORECASE)


def misspelt(line: str) -> list[str]:
    """List the names in a line of prose that are not written as their owners write them.

    Code, links and file names are left out.
    """
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>]*>", " ", line)
    right = {*_NAMES, *(name[0].upper() + name[1:] for name in _NAMES)}  # at the begin of a sentence
    return [found for found in _NAME.findall(prose) if found not in right]


def _spelling(cells: Iterable[Cell]) -> Findings:
    for cell in cells:
        for line in _prose(cell) if cell.kind == "markdown" else ():
            for word in misspelt(line):
                yield cell.number, f"{word} is written {_WRITTEN[word.lower()]}"


def _page(path: Path) -> Findings:
    """Yield what is wrong with a page of the docs: names, and links that lead nowhere."""
    cell = Cell(1, "markdown", path.read_text(encoding="utf-8"), ())
    # A page names commands and providers in passing, in small letters.
    yield from ((number, what) for number, what in _spelling([cell]) if not what.split()[0].islower())
    yield from _links(path, [cell])


def _prose(cell: Cell) -> Iterator[str]:
    """Yield the lines outside of fences: a `#` in a shell example is no heading."""
    fenced = False
    for line in cell.source.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced:
            yield line


def _headings(cell: Cell, level: int) -> list[str]:
    mark = "#" * level + " "
    return [line[len(mark) :].strip() for line in _prose(cell) if line.startswith(mark)]


def write_parameters(path: Path) -> None:
    """Write a notebook's parameters cell from the schema; everything else stays as it is, to the byte."""
    text = path.read_text(encoding="utf-8")
    lines = "\n".join(parameter_line(name) for name in phase_params(path.stem[:2]))
    for cell in json.loads(text)["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            old, new = json.dumps(cell["source"], ensure_ascii=False), json.dumps(lines, ensure_ascii=False)
            path.write_text(text.replace(old, new, 1), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Lint the named notebooks, or all."""
    write = "--parameters" in arguments
    arguments = [argument for argument in arguments if argument != "--parameters"]
    paths = [Path(argument) for argument in arguments] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths if write else ():
        write_parameters(path)
    findings = [finding for path in paths for finding in lint(path)]
    if not arguments:
        there = {path.stem for path in paths}
        findings += [
            Finding(ROOT / "notebooks" / phase.file, None, "not there")
            for phase in PHASES.values()
            if phase.file.removesuffix(".ipynb") not in there
        ]
        pages = [
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            ROOT / "CHANGELOG.md",
            *sorted((ROOT / "docs").glob("*.md")),
        ]
        findings += [Finding(page, None, what) for page in pages for _, what in _page(page)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
