"""Writes the pages of docs/ that have their source in the library: parameters.md from the schema, troubleshooting.md from the known failures.

Usage: python tools/docs.py [--check]     (--check writes nothing; exit 1 when a page is not as its source has it)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swarmbook.known import known
from swarmbook.params import PHASES, Params, phase_params

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
        f"## {title}\n\n| name | type | default | notebooks | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows[title]) + "\n" for title in order
    )
    return (
        "# Parameters\n\nWritten from `swarmbook/params.py` by `tools/docs.py`; `swarmbook params` prints the same. A parameter file is flat YAML; what it does not\n"
        "name has its default. Unknown keys, wrong types, duplicates and values that do not fit each other are all told at once, before anything\nis touched.\n\n"
        + tables
    )


def troubleshooting() -> str:
    """Every known failure: what it means, what mends it, and the test that makes it happen."""
    head = (
        "# When something is not as it should be\n\nWritten from `swarmbook/failures.yaml` by `tools/docs.py`. An error that is known names its section (`swarmbook explain NAME` prints\n"
        "it). Each of these was made to happen for real, by the test that is named, and its message seen.\n\n| | what is said |\n|---|---|\n"
    )
    table = "\n".join(f"| [{failure.title}](#{failure.name}) | `{failure.says.replace('|', chr(92) + '|')}` |" for failure in known())
    parts = [
        f'<a id="{failure.name}"></a>\n## {failure.title}\n\n{failure.means}\n\n**What mends it.** {failure.mend}\n\n*Made to happen by* `{failure.test}`.\n'
        for failure in known()
    ]
    return f"{head}{table}\n\n" + "\n".join(parts)


PAGES = {"parameters.md": parameters, "troubleshooting.md": troubleshooting}


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are stale."""
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != page()]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} is not as its source has it: python tools/docs.py")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
