"""`verify` at regular times: the units, the line for cron, and that a trouble is reported once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarmbook.access.cluster import Cluster
from swarmbook.cli import main
from swarmbook.model.checks import Check
from swarmbook.record.outcome import is_news
from swarmbook.show.schedule import EVERY, Watch, cron_line, units

GOOD = Check("sw1", "mounted", "yes", "yes", True)
BAD = Check("sw2", "mounted", "yes", "no", False)


def watch(every: str, folder: str = "/srv/book of ours/100%", cluster: str = "lab") -> Watch:
    home = Path(folder)
    return Watch(cluster, home / "params" / "it's $HOME.yaml", home, Path("/opt/venv/bin/swarmbook"), every)


def times(field: str, most: int) -> list[int]:
    """What a field of crontab(5) stands for."""
    if field == "*":
        return list(range(most))
    begin, end, step = re.fullmatch(r"(\d+)(?:-(\d+)/(\d+))?", field).groups()  # type: ignore[union-attr]
    return list(range(int(begin), int(end) + 1, int(step))) if end else [int(begin)]


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("cluster", ["lab", "prod", "a1", "zz"])
def test_cron_comes_at_even_distances(every: str, cluster: str) -> None:
    minute, hour, *rest = cron_line(watch(every, cluster=cluster)).split(" ")[:5]
    assert rest == ["*", "*", "*"]
    day = sorted(h * 60 + m for h in times(hour, 24) for m in times(minute, 60))
    distances = {b - a for a, b in zip(day, [*day[1:], day[0] + 1440])}
    assert distances == {EVERY[every]}


def test_crons_command_is_what_was_meant(tmp_path: Path) -> None:
    folder = tmp_path / "book of ours" / "100%"
    folder.mkdir(parents=True)
    seen = tmp_path / "seen"
    program = tmp_path / "swarmbook"
    program.write_text(f'#!/bin/sh\n{{ pwd; echo "$SWARMBOOK_HOME"; for w; do echo "$w"; done; }} > {seen}\n')
    program.chmod(0o755)
    line = cron_line(Watch("lab", folder / "it's $HOME.yaml", folder, program, "1h")).split(" ", 5)[5]
    assert "%" not in line.replace("\\%", "")  # crontab(5): one that stands alone ends the command
    subprocess.run(["sh", "-c", line.replace("\\%", "%")], check=True)
    assert seen.read_text().splitlines() == [
        str(folder),
        str(folder),
        "verify",
        f"{folder}/it's $HOME.yaml",
        "--on-change",
    ]


def test_the_units() -> None:
    made = units(watch("15m"))
    assert list(made) == ["swarmbook-verify-lab.service", "swarmbook-verify-lab.timer"]
    service, timer = made.values()
    assert (
        'ExecStart=/opt/venv/bin/swarmbook verify "/srv/book of ours/100%%/params/it\'s $$HOME.yaml" --on-change\n'
        in service
    )
    assert "WorkingDirectory=/srv/book of ours/100%%\n" in service
    assert 'Environment="SWARMBOOK_HOME=/srv/book of ours/100%%"\n' in service
    assert "OnUnitInactiveSec=15min\n" in timer and "WantedBy=timers.target" in timer


def test_the_units_of_an_archive_and_of_a_backup() -> None:
    service, timer = units(replace(watch("1m"), what="archive")).values()
    assert "swarmbook archive " in service and "--on-change" not in service
    assert "OnUnitInactiveSec=40s\nAccuracySec=1s\n" in timer, "a minute from one to the next, with what one takes"
    made = units(replace(watch("1d"), what="backup"))
    assert "swarmbook-backup-lab.timer" in made and "--verify\n" in made["swarmbook-backup-lab.service"]
    assert cron_line(replace(watch("1m"), what="archive")).startswith("0-59/1 * * * * ")


def params(home: Path, text: str = "") -> Path:
    file = home / "lab.yaml"
    file.write_text(f"cluster: lab\nnodes: [sw1, sw2]\nswarm_managers: 1\n{text}")
    return file


def test_the_command_writes_units_and_says_what_to_type(home: Path, cluster: Cluster) -> None:
    out = home / "units"
    done = CliRunner().invoke(main, ["schedule", str(params(home)), "--every", "2h", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "systemctl --user daemon-reload && systemctl --user enable --now swarmbook-verify-lab.timer" in done.output
    assert "OnUnitInactiveSec=120min" in (out / "swarmbook-verify-lab.timer").read_text()
    shown = CliRunner().invoke(main, ["schedule", str(params(home)), "--cron"]).output
    assert shown.count("\n") == 1 and str(home) in shown
    shown = CliRunner().invoke(main, ["schedule", str(params(home)), "--what", "archive"]).output
    assert "# swarmbook-archive-lab.timer" in shown and "OnUnitInactiveSec=40s" in shown


def test_what_a_timer_does_not_have_is_refused(home: Path, cluster: Cluster) -> None:
    file = params(home, "mariadb_password: env:PASSWORD\n")
    done = CliRunner().invoke(main, ["schedule", str(file)])
    assert done.exit_code == 2 and "mariadb_password" in done.output and "file:PATH" in done.output


def test_an_agent_of_the_environment_too(home: Path, cluster: Cluster) -> None:
    file = params(
        home,
        "provider: generic\nhosts: [sw1=root@10.0.0.1, sw2=root@10.0.0.2]\nssh_agent: SSH_AUTH_SOCK\nconsul_source: debian\n",
    )
    done = CliRunner().invoke(main, ["schedule", str(file)])
    assert done.exit_code == 2 and "ssh_agent: SSH_AUTH_SOCK" in done.output and "socket" in done.output


def test_a_cluster_that_is_not_there_is_not_watched(home: Path) -> None:
    done = CliRunner().invoke(main, ["schedule", str(params(home))])
    assert done.exit_code == 2 and "no machines" in done.output


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="live tests ask a node's systemd")
def test_systemd_takes_them(tmp_path: Path) -> None:
    program = tmp_path / "swarmbook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = units(Watch("lab", tmp_path / "it's.yaml", tmp_path, program, "1h"))
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in made)],
        check=True,
        env={**os.environ, "SYSTEMD_PAGER": ""},
    )


def test_a_trouble_is_news_once_and_its_end_too(cluster: Cluster, recorded: Callable[..., Path]) -> None:
    day = iter(range(1, 30))

    def run(*checks: Check, status: str = "completed") -> bool:
        return is_news(recorded(cluster, f"2026-01-{next(day):02}T00-00-00Z", checks=checks, status=status))

    assert not run(GOOD)  # the first, and fine
    assert not run(GOOD)
    assert run(GOOD, BAD)
    assert not run(GOOD, Check("sw2", "mounted", "yes", "read-only", False))  # the same, seen a little differently
    assert run(Check("sw1", "mounted", "yes", "no", False), BAD)
    assert run(GOOD, GOOD)
    assert not run(GOOD)


def test_the_first_look_that_finds_trouble_is_news(cluster: Cluster, recorded: Callable[..., Path]) -> None:
    assert is_news(recorded(cluster, "2026-01-01T00-00-00Z", checks=[BAD]))


def test_what_broke_off_without_a_check_is_news_by_its_code(cluster: Cluster, recorded: Callable[..., Path]) -> None:
    recorded(cluster, "2026-01-01T00-00-00Z", checks=[GOOD])
    assert is_news(recorded(cluster, "2026-01-02T00-00-00Z", checks=[GOOD], status="failed"))
    assert not is_news(recorded(cluster, "2026-01-03T00-00-00Z", checks=[GOOD], status="failed"))


def test_a_run_that_was_interrupted_or_cannot_be_read_is_passed_over(
    cluster: Cluster, recorded: Callable[..., Path]
) -> None:
    recorded(cluster, "2026-01-01T00-00-00Z", checks=[BAD])
    recorded(cluster, "2026-01-02T00-00-00Z", checks=[GOOD], status="interrupted")
    broken = recorded(cluster, "2026-01-03T00-00-00Z", checks=[GOOD])
    for file in ("ledger.jsonl", "summary.json"):
        (broken / file).write_text("{")
    assert not is_news(recorded(cluster, "2026-01-04T00-00-00Z", checks=[BAD]))
