"""Phase 24: the rules by promtool, Prometheus's settings, what the swarm is given, what the API's answers are read as, and the numbers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from swarmbook.base.codes import Code
from swarmbook.cli.running import _numbers
from swarmbook.diagnosis.metrics import exposition, row_metrics
from swarmbook.diagnosis.status import Row
from swarmbook.machines.images.galera.word import Word, metrics
from swarmbook.model.health import Component, ContainerState, EngineState, GaleraState, Role, SwarmState
from swarmbook.model.phases import PHASES
from swarmbook.params import Params, load_params
from swarmbook.phases.watch.admit import Admitted, Known, Wanted, admit, statements
from swarmbook.phases.watch.api import _alert, _series
from swarmbook.phases.watch.config import certificate_days, node_targets, prometheus_yml, rules_yaml
from swarmbook.phases.watch.pictures import PICTURES
from swarmbook.phases.watch.prove import wanted_targets
from swarmbook.phases.watch.services import document
from swarmbook.phases.watch.step import OnNode, Watch, late
from swarmbook.show.curves import Curve, curves
from swarmbook.testing.errors import raises

RULES = Path(__file__).parent / "rules"
SHOP = Params(nodes=["n1", "n2", "n3", "n4"], swarm_managers=3, mariadb_cluster_name="shop", galera_nodes=["n1", "n4"])
NAMES = {"reads": "r-1", "registers": "w-1", "my-cnf": "m-1"}
CONFIGS = {"prometheus": "p-1", "rules": "u-1", "ca": "c-1"}


def promtool(*arguments: str, folder: Path) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: tools/needs.sh promtool")
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts(params: Params) -> list[dict[str, Any]]:
    groups = yaml.safe_load(rules_yaml(params))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rules_yaml(Params()))
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)


@pytest.mark.parametrize("file", sorted(RULES.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_fires_and_goes_out(file: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rules_yaml(Params()))
    shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", file.name, folder=tmp_path)


def test_each_alert_has_a_case_and_says_what_to_do() -> None:
    cases = "".join(file.read_text() for file in RULES.glob("*.yaml"))
    for rule in alerts(Params()):
        assert f"alertname: {rule['alert']}\n        exp_alerts" in cases, f"no case in which {rule['alert']} fires"
        assert re.search(r"\bswarmbook [a-z]+", rule["annotations"]["next"]), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["for"] == "30s"


def test_the_rules_follow_the_parameters() -> None:
    text = rules_yaml(SHOP.model_copy(update={"watch_alert_for": 3}))
    assert "@{" not in text
    assert "vector(2)" in text and "vector(3)" in text and 'for: "3s"' in text
    assert certificate_days(SHOP) == 14
    assert certificate_days(SHOP.model_copy(update={"certificate_renew_days": 4})) == 2
    assert certificate_days(SHOP.model_copy(update={"certificate_renew_days": 0})) == 0


def test_prometheus_is_told_whom_to_ask() -> None:
    found = yaml.safe_load(prometheus_yml(SHOP))
    jobs = {job["job_name"]: job for job in found["scrape_configs"]}
    assert list(jobs) == ["node", "member", "mysqld", "consul"]
    assert all(job["file_sd_configs"][0]["files"] == [f"/run/watch/{name}.json"] for name, job in jobs.items())
    assert jobs["consul"]["scheme"] == "https" and jobs["consul"]["tls_config"] == {
        "ca_file": "/etc/swarmbook/consul-ca/consul-ca.pem"
    }
    assert "insecure" not in prometheus_yml(SHOP)
    assert jobs["mysqld"]["relabel_configs"][-1]["replacement"] == "shop-watch_mysqld-exporter:9104"
    assert found["global"]["scrape_interval"] == "10s"
    assert wanted_targets(SHOP) == {
        "node": ["n1", "n2", "n3", "n4"], "member": ["n1", "n4"], "mysqld": ["n1", "n4"], "consul": ["n1", "n2", "n3"],
    }  # fmt: skip


def test_nothing_is_published_and_no_container_is_root() -> None:
    made = document(
        SHOP, "lab", {"prometheus": "swarmbook/prometheus:x", "exporters": "swarmbook/exporters:x"}, NAMES, CONFIGS
    )
    for name, service in made["services"].items():
        assert "ports" not in service, name
        assert service["networks"] == ["overlay"]
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and service["read_only"] is True
        assert all(secret["mode"] == 0o400 and secret["uid"] == "65534" for secret in service["secrets"])
        assert service["deploy"]["labels"]["swarmbook.cluster"] == "lab"
    writable = [
        volume
        for service in made["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind" and not volume.get("read_only")
    ]
    assert not writable, "nothing of a node's is written to"
    assert made["volumes"] == {"data": {"name": "shop-watch_data", "labels": {"swarmbook.cluster": "lab"}}}
    for image in ("prometheus", "exporters"):
        text = files("swarmbook.machines.images").joinpath(image, "Dockerfile").read_text()
        assert "USER 65534" in text and "-perm /6000 -exec chmod a-s" in text


def test_the_login_may_do_nothing() -> None:
    text = statements("*0123456789ABCDEF0123456789ABCDEF01234567")
    assert "REQUIRE SSL" in text and "GRANT " not in text.replace("GRANT OPTION", "")
    assert "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'swarmbook_watch'@'%'" in text


def test_who_is_let_in_already_is_not_let_in_again() -> None:
    wanted = Wanted("*A", ())
    assert admit.plan(wanted, Admitted(Known("c", "*A"))) == []
    (change,) = admit.plan(wanted, Admitted(Known("c", "*B")))
    assert change.things[0] == "swarmbook_watch"
    assert "*" not in "".join(change.things), "a plan holds no hash"
    assert [check.ok for check in admit.verify(wanted, Admitted(Known("c", "*B")))] == [False]


def test_what_does_not_run_yet() -> None:
    def seen(**nodes: OnNode) -> Watch:
        return Watch(nodes)

    whole = OnNode("n1", frozenset({"node-exporter", "mysqld-exporter", "prometheus"}), True)
    assert late(None, seen(n1=whole, n2=OnNode("n2", frozenset({"node-exporter"})))) == []  # type: ignore[arg-type]
    assert late(None, seen(n1=OnNode())) == ["n1: no node-exporter", "Prometheus is not ready", "no mysqld-exporter"]  # type: ignore[arg-type]


def test_a_run_ends_with_it_where_the_parameters_say_so() -> None:
    assert _numbers(Params(with_watch=True), None, None, None)[-2:] == ["08", "24"]
    assert _numbers(Params(with_watch=True, with_endpoint=True), "07", None, None) == ["07", "08", "20", "24"]
    assert _numbers(Params(), None, None, "24") == ["24"]
    assert {"24"} <= set(PHASES["90"].takes_away) & set(PHASES["91"].takes_away)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nodes: [prometheus, sw2, sw3]", "a service that watches"),
        ("mariadb_cluster_name: shop-watch", "what watches it"),
        ("watch_interval: 0", "watch_interval"),
        ("overlay_subnet: 10.200.0.0/28\nwith_watch: true", "three for each node"),
    ],
)
def test_what_is_refused(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(line + "\n")
    with raises(Code.PARAMETERS_WRONG, said):
        load_params(str(tmp_path / "lab.yaml"))


def test_what_a_prometheus_says_is_cut_to_a_line() -> None:
    said = _alert({
        "labels": {"alertname": "Evil\x1b[2J", "severity": "page"}, "annotations": {"what": "a\nb", "next": "x" * 999}, "state": "firing", "activeAt": "now",
    })  # fmt: skip
    assert "\x1b" not in said.name and said.what == "a b" and len(said.next) <= 200
    assert _series({"metric": {"node": "n1"}}, [[1, "2.5"]]).points == [(1.0, 2.5)]


def test_the_agent_says_it_for_prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends").write_text('swarmbook_certificate_end_seconds{purpose="database"} 1800000000\n')
    monkeypatch.setattr("swarmbook.machines.images.galera.word.CERTIFICATES", str(tmp_path / "ends"))
    word = Word(writer=200, reader=200, read_only=False, primary=True, term=7)

    def read(text: str) -> dict[str, float]:
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text + "\n")
            for sample in family.samples
        }

    found = read(metrics(word, True, True, True))
    assert found == {
        "swarmbook_member_writer": 1, "swarmbook_member_synced": 1, "swarmbook_member_primary": 1, "swarmbook_member_open": 1,
        "swarmbook_member_term": 7, "swarmbook_member_fresh": 1, "swarmbook_certificate_end_seconds": 1800000000,
    }  # fmt: skip
    old = read(metrics(word, False, False, False))
    assert old["swarmbook_member_primary"] == old["swarmbook_member_open"] == old["swarmbook_member_fresh"] == 0, (
        "what is too old says nothing"
    )


def row(node: str, **more: Any) -> Row:
    fine: dict[str, Any] = {
        "engine": EngineState.ACTIVE, "swarm": SwarmState.ACTIVE, "role": Role.MANAGER, "consul": ContainerState.RUNNING,
        "galera": GaleraState.SYNCED, "component": Component.PRIMARY,
    }  # fmt: skip
    return Row(node, **{**fine, **more})


def test_numbers_are_read_by_prometheus_s_own_client(tmp_path: Path) -> None:
    rows = [
        row("n1", part="writer"),
        row("n2", galera=GaleraState.NOT_WANTED),
        Row("n3", 'no answer: "x"\\'),
        row("n4", part="fenced"),
    ]
    text = exposition(row_metrics(SHOP, rows), 'a"b\\c')
    found = {
        (sample.name, sample.labels.get("node", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["swarmbook_node_up", "n3"] == 0
    assert ("swarmbook_engine_up", "n3") not in found, "of a node that does not answer nothing else is known"
    assert ("swarmbook_member_up", "n2") not in found, "where no member is wanted, none is missed"
    assert found["swarmbook_member_writer", "n1"] == 1 and found["swarmbook_member_open", "n4"] == 0
    assert found["swarmbook_members_wanted", ""] == 2 and found["swarmbook_managers_wanted", ""] == 3
    labels = next(iter(text_string_to_metric_families(text))).samples[0].labels
    assert labels == {"cluster": 'a"b\\c'}
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def test_the_dashboard_is_one() -> None:
    board = json.loads(files("swarmbook.phases.watch").joinpath("dashboard.json").read_text())
    assert board["uid"] == "swarmbook" and board["schemaVersion"] >= 36
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert panel["type"] in ("stat", "timeseries") and panel["title"] and 0 <= grid["x"] <= 24 - grid["w"], panel
        assert all(target["expr"] and target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert any(panel["targets"][0]["expr"] == query for _, query, _, _ in PICTURES for panel in board["panels"])


def test_curves_say_in_words_what_they_show() -> None:
    drawn = curves(
        [Curve("n1", [(-60, 3), (-30, float("nan")), (0, 2)]), Curve("n<2", [(-60, 3), (0, 3)])], "Members", ""
    )
    assert "n1: 2 to 3, 2 at the end" in drawn and "n&lt;2" in drawn
    assert drawn.count('class="curve"') == 2 and "stroke-dasharray" in drawn
    assert "nan" not in drawn
    assert "Members" in curves([], "Members")


def test_the_names_in_consul() -> None:
    assert node_targets(SHOP) == "shop-watch-node"
