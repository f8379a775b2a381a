"""What a lab's machines say when a test has failed: soon they are gone, and the failure may not come again."""

from __future__ import annotations

import os
import re

import pytest

from .conftest import ROOT, Lab, Machine

__all__ = ["hear"]

#: Whole, for a person who was there; the end of each stands in the report.
KEPT = ROOT / "test-results" / "witness"
#: Lines of a member's log that a report shows, and lines that are kept.
_SHOWN, _KEPT = 25, 400
#: A lab that stays broken fails many tests, and says the same each time.
_MOST = 3
_ASKED: dict[str, int] = {}

_ASK = f"""timeout 10 docker ps -a --format '{{{{.Names}}}}  {{{{.Status}}}}'
for c in $(timeout 10 docker ps -aq --filter label=com.docker.swarm.service.name --filter volume=/var/lib/galera); do
  echo "== $(docker inspect --format '{{{{.Name}}}} {{{{.State.Status}}}}, exit {{{{.State.ExitCode}}}}, {{{{with .State.Health}}}}{{{{.Status}}}}, {{{{.FailingStreak}}}} failures in a row{{{{end}}}}' $c)"
  timeout 10 docker logs -t --tail {_KEPT} $c 2>&1
done"""


def hear(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put what the machines say into the report of a test that has failed.

    Args:
        item: The test.
        report: Its report.
    """
    for lab in getattr(item, "funcargs", {}).values():
        if isinstance(lab, Lab) and _ASKED.setdefault(lab.name, 0) < _MOST:
            _ASKED[lab.name] += 1
            report.sections.append((f"the machines of {lab.name}", _heard(lab, item.name)))


def _heard(lab: Lab, test: str) -> str:
    """Ask each machine that runs; an answer that does not come is no second failure."""
    parts = [f"load {os.getloadavg()}"]
    KEPT.mkdir(parents=True, exist_ok=True)
    for node in lab.params["nodes"]:
        machine = Machine(lab.docker, f"swarmbook-{lab.name}-{node}")
        try:
            if not machine.there:
                continue
            _, said = machine.try_sh(_ASK)
        except Exception as error:
            said = str(error)
        name = re.sub(r"[^\w.-]+", "-", f"{test}-{node}")[:120]
        (KEPT / f"{name}.txt").write_text(said)
        containers, *members = said.split("\n== ")
        shown = [containers]
        for member in members:
            head, *lines = member.splitlines()
            shown += [f"== {head}", *lines[-_SHOWN:]]
        parts.append(f"-- {node}\n" + "\n".join(shown))
    return "\n".join(parts)
