"""Draws the pictures of docs/ that show a run, from that run's record: timeline.svg and states.svg.

Usage: python tools/pictures.py runs/CLUSTER/STAMP
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swarmbook.drawing import timeline
from swarmbook.runbook.record import read_record

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(run: Path) -> int:
    """Write both pictures."""
    record = read_record(run)
    began = min(command.began for command in record.commands)
    work = [(command.host, command.began - began, command.began + command.seconds - began) for command in record.commands]
    (DOCS / "timeline.svg").write_text(timeline(work, f"A run: {len(work)} commands") + "\n", encoding="utf-8")
    cells = json.loads(next(run.glob("07_*.ipynb")).read_text(encoding="utf-8"))["cells"]
    pictures = [output["data"]["image/svg+xml"] for cell in cells for output in cell.get("outputs", []) if "image/svg+xml" in output.get("data", {})]
    if not pictures:
        print(f"{run}: no member joined in this run")
        return 1
    (DOCS / "states.svg").write_text("".join(pictures[0]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
