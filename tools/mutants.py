"""Makes small mistakes in modules, one at a time, and says which of them no unit test notices.

Usage: python tools/mutants.py [--seed N] [--count N] [--jobs N] [--tests PATH]... MODULE...

A mistake is another comparison or boolean operator, a condition turned round, a keyword argument or a statement left out, another constant;
only on lines that the tests run. Each is tried on a copy of the repository by the tests that run its line, so the checkout stays as it is.
Exit 1 when one survives: a test is lacking there, or the change is of no consequence, which only a reader can tell.

Example: python tools/mutants.py --seed 3 --count 20 swarmbook/access/pki.py
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import copy
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[1]
#: Each other's mistake.
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
#: Words for a person: whether they are right is not for a mutant to tell.
_DISPLAYED = {"where", "wanted", "seen", "next", "help", "because", "why"}
#: Tells coverage which test runs, by its id.
_PLUGIN = """
import coverage, pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    coverage.Coverage.current().switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        coverage.Coverage.current().switch_context("")
"""


@dataclass(frozen=True)
class Mutant:
    """One mistake: bytes of a file that are to be replaced."""

    file: str
    line: int
    kind: str
    begin: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        short = [" ".join(text.split())[:70] for text in (self.old, self.new)]
        return f"{self.file}:{self.line}  {self.kind}: {short[0]}  ->  {short[1]}"

    def applied(self, source: bytes) -> bytes:
        """Return the file's content with the mistake in it."""
        return source[: self.begin] + self.new.encode() + source[self.end :]


def variants(node: ast.AST) -> Iterator[tuple[str, ast.expr | str]]:
    """Yield what can go wrong with one node: a kind of mistake, and what stands there instead."""
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            other = copy.deepcopy(node)
            other.ops[index] = _COMPARED[type(op)]()
            yield "another comparison", other
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and/or", ast.BoolOp(other_op, node.values)
        for index in range(len(node.values)):
            left = [value for number, value in enumerate(node.values) if number != index]
            yield "operand left out", left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "turned round", node.operand
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in _DISPLAYED:
                yield (
                    f"{keyword.arg} left out",
                    ast.Call(node.func, node.args, [k for k in node.keywords if k is not keyword]),
                )
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "another constant", ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield "another constant", ast.Constant(node.value + 1)
        elif isinstance(node.value, str) and node.value and " " not in node.value:
            yield "another constant", ast.Constant(f"{node.value}x")
    elif isinstance(node, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "left out", "pass"


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands in a node, but for annotations, docstrings, `__all__` and f-strings.

    Python before 3.12 gets the places in f-strings wrong.
    """
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"):
        return
    left_out: list[ast.AST | None] = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        left_out += [getattr(node, "returns", None), *node.decorator_list]
    if isinstance(node, (ast.arg, ast.AnnAssign)):
        left_out.append(node.annotation)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("cast", "TypeVar"):
        return
    for child in ast.iter_child_nodes(node):
        text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        if not text and not any(child is other for other in left_out):
            yield child


def mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """Yield every mistake that could be made in a file."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def walk(node: ast.AST) -> Iterator[Mutant]:
        found = list(variants(node))
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            found += [("turned round", ast.UnaryOp(ast.Not(), node.test))]
        for kind, instead in found:
            at = node.test if isinstance(node, (ast.If, ast.While, ast.IfExp)) else node
            assert isinstance(at, (ast.expr, ast.stmt)) and at.end_lineno is not None and at.end_col_offset is not None
            begin, end = starts[at.lineno - 1] + at.col_offset, starts[at.end_lineno - 1] + at.end_col_offset
            new = instead if isinstance(instead, str) else f"({ast.unparse(ast.fix_missing_locations(instead))})"
            yield Mutant(file, at.lineno, kind, begin, end, source[begin:end].decode(), new)
        for child in children(node):
            yield from walk(child)

    for mutant in walk(ast.parse(source)):
        try:
            compile(mutant.applied(source), file, "exec")
        except (SyntaxError, ValueError):  # such as a keyword's own name, or a pattern of a match
            continue
        yield mutant


class Tree:
    """A copy of the repository, in which tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)

    def python(self, *arguments: str, timeout: float | None = None) -> int | None:
        """Run Python on what lies here; return the exit code, or nothing where it did not end."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )  # fmt: skip
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return None


def runs(tree: Tree, modules: list[str], tests: list[str]) -> tuple[dict[str, dict[int, set[str]]], float]:
    """Find which tests run which line of the modules, and how long all of them took together."""
    (tree.folder / "mutants_context.py").write_text(_PLUGIN)
    (tree.folder / "mutants.ini").write_text("[run]\ndata_file = mutants.data\n")
    measured = ["-m", "coverage", "run", "--rcfile=mutants.ini", f"--include={','.join(modules)}"]
    began = time.monotonic()
    code = tree.python(*measured, "-m", "pytest", "-q", "-p", "mutants_context", "-p", "no:cacheprovider", *tests)
    if code != 0:
        raise SystemExit(f"the tests do not pass as they are: pytest {' '.join(tests)} gave {code}")
    data = coverage.CoverageData(str(tree.folder / "mutants.data"))
    data.read()
    found: dict[str, dict[int, set[str]]] = {}
    for module in modules:
        by_line = data.contexts_by_lineno(str((tree.folder / module).resolve()))
        everyone = {test for ran in by_line.values() for test in ran} - {""}
        # What runs at import alone concerns every test that runs anything of the module.
        found[module] = {line: (set(ran) - {""}) or everyone for line, ran in by_line.items()}
    return found, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="+", metavar="MODULE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20, help="mistakes in each module")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tests", action="append", help="which tests may notice (default: tests/unit)")
    given = parser.parse_args()
    draw, chosen = random.Random(given.seed), list[tuple[Mutant, list[str]]]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        trees = [Tree(Path(place).resolve() / str(number)) for number in range(given.jobs)]
        lines, seconds = runs(trees[0], given.modules, given.tests or ["tests/unit"])
        for module in given.modules:
            possible = [m for m in mutants(module, (ROOT / module).read_bytes()) if lines[module].get(m.line)]
            chosen += [
                (m, sorted(lines[module][m.line])) for m in draw.sample(possible, min(given.count, len(possible)))
            ]
        free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in trees:
            free.put(tree)

        def killed(mutant: Mutant, tests: list[str]) -> bool:
            tree = free.get()
            file = tree.folder / mutant.file
            source = (ROOT / mutant.file).read_bytes()
            try:
                file.write_bytes(mutant.applied(source))
                (tree.folder / "mutants.args").write_text("\n".join(tests))
                return (
                    tree.python(
                        "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "@mutants.args", timeout=60 + 3 * seconds
                    )
                    != 0
                )
            finally:
                file.write_bytes(source)
                free.put(tree)

        survived = dict.fromkeys(given.modules, 0)
        with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
            tried = [(mutant, pool.submit(killed, mutant, tests)) for mutant, tests in chosen]
            for mutant, future in tried:
                survived[mutant.file] += not future.result()
                print(f"{'killed  ' if future.result() else 'SURVIVED'}  {mutant}", flush=True)
    for module, count in survived.items():
        total = sum(mutant.file == module for mutant, _ in chosen)
        print(f"{module}: {total - count} of {total} killed")
    return int(any(survived.values()))


if __name__ == "__main__":
    sys.exit(main())
