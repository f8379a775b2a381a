"""Runs a sample of the matrix of parameters on a lab: the whole book, a second run that changes nothing, verify, destroy and cancel.

Usage: tools/matrix.py [ROWS [SEED]]     The rows are drawn by lot, by default three of today's.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.matrix import LAB, rows  # noqa: E402 - found by the line above

SWARMBOOK = Path(sys.executable).parent / "swarmbook"
NODES = ["x1", "x2", "x3"]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else date.today().toordinal()
    drawn = random.Random(seed).sample(list(enumerate(rows())), count)
    failed = [number for number, row in drawn if not _holds(number, row)]
    print(f"{count} rows of seed {seed}: {', '.join(map(str, failed)) + ' failed' if failed else 'all hold'}")
    return 1 if failed else 0


def _holds(number: int, row: dict[str, object]) -> bool:
    """Run a row; say what it was, and where it ended."""
    given = {name: row[name] for name in row if name in LAB}
    chosen = row["galera_nodes"]
    assert isinstance(chosen, list)
    given["galera_nodes"] = [] if not chosen else NODES[:1] if len(chosen) == 1 else NODES[:-3:-1]
    params = {
        "cluster": f"matrix-{number}", "provider": "lab", "nodes": NODES, "swarm_managers": 3, "lab_disk_gb": 3, "consul_source": "debian", **given,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="swarmbook-matrix-") as home:
        file = Path(home) / "matrix.yaml"
        file.write_text(yaml.safe_dump(params))
        environment = {**os.environ, "SWARMBOOK_HOME": home}
        (Path(home) / "notebooks").symlink_to(ROOT / "notebooks")

        def call(*words: str) -> bool:
            done = subprocess.run([SWARMBOOK, *words], env=environment, capture_output=True, text=True)
            if done.returncode:
                print(f"row {number}: swarmbook {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return done.returncode == 0

        try:
            fine = (
                call("run", str(file)) and call("run", str(file)) and _changes(home) == 0 and call("verify", str(file))
            )
            fine = fine and call("destroy", str(file), "--yes")
        finally:
            call("cancel", str(file), "--yes")
    print(f"row {number}: {'holds' if fine else 'FAILED'}: {json.dumps(given)}", flush=True)
    return fine


def _changes(home: str) -> int:
    """Count what the last run has changed."""
    last = sorted(Path(home, "runs").glob("*/2*/summary.json"))[-1]
    return sum(int(chapter["changes"]) for chapter in json.loads(last.read_text())["chapters"])


if __name__ == "__main__":
    sys.exit(main())
