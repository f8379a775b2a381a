"""Known vulnerabilities of what is locked, by pip-audit, which asks the Python Package Index.

Exit codes: 0 none is known, 1 there are some, 3 nothing could be said. pip-audit itself ends with 0 where it could ask
for nothing at all, so its report is read here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: `run` is a part of both.
LOCKS = ("dev", "book")
#: Vulnerabilities that are known and do not matter here: the id, and why.
ACCEPTED: Mapping[str, str] = {}
_FIRST = re.compile(r"^([a-z0-9][a-z0-9._-]*==[^ ;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Audit:
    """What is known of the packages of a lock file.

    Args:
        vulnerable: A line for each vulnerability that is not accepted.
        unknown: A line for each package of which nothing could be said.
        asked: How many packages there were.
    """

    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]
    asked: int


def read_report(report: Mapping[str, Any]) -> Audit:
    """Read pip-audit's JSON.

    Raises:
        KeyError, TypeError: It is none.
    """
    vulnerable, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(f"{package['name']}: {package['skip_reason']}")
            continue
        for found in package["vulns"]:
            names = [found["id"], *found.get("aliases", ())]
            if not any(name in ACCEPTED for name in names):
                fixed = ", ".join(found.get("fix_versions") or ()) or "none yet"
                vulnerable.append(f"{package['name']} {package['version']}: {' '.join(names)}; fixed in: {fixed}")
    return Audit(tuple(vulnerable), tuple(unknown), len(report["dependencies"]))


def _ask(requirements: Path, *options: str) -> Audit | str:
    """Return what pip-audit says of a file of requirements, or its last words."""
    command = [sys.executable, "-m", "pip_audit", "-f", "json", "--progress-spinner", "off", "--disable-pip", *options]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, check=False)
    try:
        return read_report(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _reachable(lock: Path) -> str:
    """Try one package, so that an index without this data is not asked for each; return why not, or nothing."""
    first = _FIRST.search(lock.read_text())
    assert first
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(first[1] + "\n")
        said = _ask(one, "--no-deps")
    return said if isinstance(said, str) else "; ".join(said.unknown)


def main(arguments: list[str] | None = None) -> int:
    """Audit every lock file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-reachable", action="store_true", help="exit 0 where the data cannot be reached")
    wanted = parser.parse_args(arguments)
    locks = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
    if why := _reachable(locks[0]):
        print(f"not audited: the index does not give PyPI's data on vulnerabilities ({why})")
        return 0 if wanted.if_reachable else 3
    code = 0
    for lock in locks:
        said = _ask(lock, "--require-hashes")
        if isinstance(said, str):
            print(f"{lock.name}: not audited: {said}")
            return 3
        print("\n".join([*said.vulnerable, *said.unknown]), end="\n" if said.vulnerable or said.unknown else "")
        print(
            f"{lock.name}: {said.asked} packages, {len(said.vulnerable)} vulnerabilities, {len(said.unknown)} unknown"
        )
        code = max(code, 1 if said.vulnerable else 3 if said.unknown else 0, key=[0, 3, 1].index)
    return code


if __name__ == "__main__":
    sys.exit(main())
