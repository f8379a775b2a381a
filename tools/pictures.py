"""Draws the pictures of docs/ that show a run, from that run's record: timeline.svg and states.svg.

Usage: python tools/pictures.py runs/CLUSTER/STAMP
"""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from swarmbook.record.reader import read_record
from swarmbook.show.drawing import timeline

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(run: Path) -> int:
    """Write both pictures."""
    record = read_record(run)
    began = min(command.began for command in record.commands)
    work = list(replace(record, began=began).work())
    (DOCS / "timeline.svg").write_text(timeline(work, f"A run: {len(work)} commands") + "\n", encoding="utf-8")
    cells = json.loads(next(run.glob("07_*.ipynb")).read_text(encoding="utf-8"))["cells"]
    pages = [
        "".join(output.get("data", {}).get("text/html", "")) for cell in cells for output in cell.get("outputs", [])
    ]
    pictures = [
        base64.b64decode(found[1]).decode()
        for page in pages
        if (found := re.match('<img alt="Members[^>]* src="data:image/svg.xml;base64,([^"]*)"', page))
    ]
    if not pictures:
        print(f"{run}: no member joined in this run")
        return 1
    (DOCS / "states.svg").write_text(pictures[0] + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
