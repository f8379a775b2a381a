"""Three nodes and the whole book: run, look, use, run again, a second database, a fourth node, and away with it.

The tests stand in the order of the story. What each needs it asks for, so that one of them can be run alone; only the later ones
leave a lab that is not as the first run left it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pymysql
import pytest
import requests
import yaml

from swarmbook.access.cluster import Cluster
from swarmbook.access.tls import NamedAdapter, NamedContext
from swarmbook.model.ledger import read_run

from .conftest import ADMIN, COMMAND_S, Lab, Watch, program, until

NODES = ["sw1", "sw2", "sw3"]
BOOK = ["01", "02", "03", "04", "05", "06", "07", "08"]
STEP = "application/vnd.swarmbook.step+json"
SQL, CONSUL = 3306, 8501


@pytest.fixture(scope="module")
def watched() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, lab_disk_gb=10, mariadb_port=SQL)


# -- helpers -----------------------------------------------------------------------------------------------------------


def code_cells(path: Path) -> list[Any]:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return [cell for cell in book.cells if cell.cell_type == "code"]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for cell in code_cells(path):
        for output in cell.outputs:
            if STEP in output.get("data", {}):
                yield {**output.data[STEP], "text": output.data["text/plain"], "html": output.data["text/html"]}


def secrets_of(lab: Lab) -> dict[str, bytes]:
    """Every secret as it could show up somewhere, by a name for the message: as it is, and in base64."""
    found = {path.name: path.read_bytes().strip() for path in (lab.folder / "secrets").iterdir()}
    for path in lab.folder.glob("pki/*/*.key"):
        found[f"{path.parent.name}/{path.name}"] = path.read_bytes().splitlines()[1][
            -20:
        ]  # behind a head that all keys share
    found["id_ed25519"] = b"".join((lab.folder / "id_ed25519").read_bytes().splitlines()[1:-1])[
        216:256
    ]  # where OpenSSH's format has the seed
    assert len(found) >= 12, sorted(found)
    assert all(len(value) >= 8 for value in found.values()), "something that short would be found anywhere"
    return {
        **found,
        **{f"{name} in base64": base64.b64encode(value).rstrip(b"=")[:-1] for name, value in found.items()},
    }


def leaks(secrets: dict[str, bytes], where: dict[str, bytes]) -> list[str]:
    return [
        f"{name} in {place}" for place, content in where.items() for name, value in secrets.items() if value in content
    ]


@contextlib.contextmanager
def login(
    lab: Lab, node: str, user: str = ADMIN, *, tls: bool = True, cluster: str = "galera", **options: Any
) -> Iterator[Any]:
    """A client of the port that is published, which trusts this cluster's CA alone and checks the host's name."""
    host, _, port = lab.end(node, SQL).partition(":")
    assert host == "127.0.0.1"  # by which a certificate names nothing
    context = lab.admin(cluster) if user == ADMIN else ssl.create_default_context(cafile=str(lab.ca("database")))
    password = "" if user == ADMIN else lab.secret(f"{cluster}-password")
    connection = pymysql.connect(
        host="localhost", port=int(port), user=user, password=password, ssl=context if tls else None, ssl_disabled=not tls,
        autocommit=True, connect_timeout=60, read_timeout=120, **options,
    )  # fmt: skip
    with contextlib.closing(connection):
        yield connection


def ask(lab: Lab, node: str, query: str, **options: Any) -> list[tuple[Any, ...]]:
    with login(lab, node, **options) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def wsrep(lab: Lab, node: str) -> dict[str, str]:
    return {str(key).removeprefix("wsrep_"): str(value) for key, value in ask(lab, node, "SHOW STATUS LIKE 'wsrep_%'")}


def containers(lab: Lab, nodes: list[str]) -> dict[str, str]:
    """Every container of the swarm's services on the nodes: when it was started, by node, id and service."""
    form = '{{.ID}} {{.Label "com.docker.swarm.service.name"}}'
    found = {}
    for node in nodes:
        machine = lab.machine(node)
        for line in machine.sh(
            f"docker ps --no-trunc --filter label=com.docker.swarm.service.name --format '{form}'"
        ).splitlines():
            id, service = line.split()
            found[f"{node} {service} {id}"] = machine.sh(f"docker inspect --format '{{{{.State.StartedAt}}}}' {id}")
        found[f"{node} engine"] = machine.sh("systemctl show -p ActiveEnterTimestampMonotonic --value docker.service")
        found[f"{node} machine"] = machine.inspect()["State"]["StartedAt"]
    return found


# -- the first run -----------------------------------------------------------------------------------------------------


def test_run(lab: Lab, watched: Watch) -> None:
    with watched:
        done = lab.need()
    done.expect(0, "How to reach it:", 'eval "$(swarmbook env sw1)"')
    summary = lab.summary()
    assert (summary["status"], summary["exit_code"]) == ("completed", 0)
    assert [chapter["number"] for chapter in summary["chapters"]] == BOOK
    assert summary["changes"] > 0
    for chapter in summary["chapters"]:
        assert chapter["status"] == "completed", chapter
        assert chapter["steps"], chapter
        for step in chapter["steps"]:
            assert (step["status"], step["failed"]) == ("completed", 0), step
            assert step["title"] in done.said or step["title"][:30] in done.said, f"no line for {step['title']}:{done}"
        cells = code_cells(lab.runs[-1] / chapter["notebook"])
        assert {cell.metadata.papermill.status for cell in cells} == {"completed"}, chapter["notebook"]
        assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"], chapter[
            "notebook"
        ]
    # Eight checks of 08 and one row each way, for three members.
    assert sum(step["checks"] for step in summary["chapters"][-1]["steps"]) >= 24


def test_transcripts(lab: Lab) -> None:
    lab.need()
    run = lab.runs[0]
    shown = {number: "".join(step["html"] for step in steps(next(run.glob(f"{number}_*.ipynb")))) for number in BOOK}
    for number in ("02", "03", "04", "05", "06", "07"):
        assert "<details" in shown[number], number
        assert all(node in shown[number] for node in NODES), number
    for number, command in {
        "02": "mkfs.btrfs",
        "03": "docker swarm init",
        "04": "docker stack deploy",
        "06": "docker network create",
        "07": "docker stack deploy",
    }.items():
        assert command in shown[number], f"{number} does not show {command}"


def test_stack_files_are_what_runs(lab: Lab) -> None:
    """``docker stack deploy`` reads the files of the run's folder, and finds nothing to change."""
    lab.need()
    for stack in ("consul", "galera"):
        text = next(
            (run / f"stack-{stack}.yaml").read_text() for run in lab.runs if (run / f"stack-{stack}.yaml").exists()
        )
        assert set(yaml.safe_load(text)["services"]) == ({"server", "client"} if stack == "consul" else set(NODES))
        before = containers(lab, NODES)
        lab.ssh("sw1", f"docker stack deploy --resolve-image never -c - {stack}", input=text).expect(0)
        # A task that is to be replaced shows at once as one that is wanted otherwise.
        tasks = (
            lab.machine("sw1")
            .sh(f"docker stack ps {stack} --format '{{{{.Name}}}} {{{{.DesiredState}}}} {{{{.CurrentState}}}}'")
            .splitlines()
        )
        assert len(tasks) == 3 and all(line.split()[1:3] == ["Running", "Running"] for line in tasks), tasks
        assert containers(lab, NODES) == before


def test_no_secret_shows_anywhere(lab: Lab, watched: Watch) -> None:
    done = lab.need()
    places = {"the terminal": done.said.encode()}
    places |= {
        str(path.relative_to(lab.home)): path.read_bytes() for path in (lab.home / "runs").rglob("*") if path.is_file()
    }
    places |= {
        str(path.relative_to(lab.home)): path.read_bytes()
        for path in [lab.folder / "cluster.json", *lab.folder.glob("stacks/*")]
    }
    for node in NODES:
        machine = lab.machine(node)
        places[f"{node}: docker inspect of the machine"] = json.dumps(machine.inspect()).encode()
        places[f"{node}: docker inspect"] = machine.sh(
            "docker inspect $(docker ps -aq) $(docker service ls -q) $(docker network ls -q) $(docker volume ls -q)"
        ).encode()
        places[f"{node}: swarm objects"] = machine.sh(
            "for k in secret config; do docker $k inspect $(docker $k ls -q); done"
        ).encode()
        places[f"{node}: container logs"] = machine.sh(
            "for c in $(docker ps -aq); do docker logs $c 2>&1; done"
        ).encode()
        places[f"{node}: journal"] = machine.sh(
            "journalctl --no-pager -o cat; ls -R /root; cat /root/.*history 2>/dev/null; true"
        ).encode()
        places[f"{node}: ps -ef"] = machine.sh("ps -ef").encode()
        places[f"{node}: environments"] = machine.sh(
            "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true"
        ).encode()
    assert min(len(content) for place, content in places.items() if "inspect" in place) > 1000
    # What passed by during the run: as seen from here, which includes the machines, when their engine shares this kernel.
    if watched.seen and os.geteuid() == 0:
        assert any(b"mariadbd" in seen for seen in watched.seen), "the run was not watched"
    for seen in watched.seen:
        start = seen[:60].replace(b"\0", b" ").decode(errors="replace")
        places[f"a process during the run, {start!r}"] = seen
    found = leaks(secrets_of(lab), places)
    assert not found, "\n".join(found)


# -- again, and the lock ------------------------------------------------------------------------------------------------


def test_second_run_changes_nothing_and_nobody_else_runs(lab: Lab) -> None:
    lab.need()
    before, count = containers(lab, NODES), len(lab.runs)
    going = lab.start("run")
    going.until((lab.folder / "lock.json").exists)
    with going.held():  # it would soon be done, and nothing would keep the last of these from doing what it says
        for verb in ("run", "verify"):
            other = lab.book(verb).refused(
                3, "LockHeld", f"process {going.process.pid}", "run, for ", "swarmbook explain somebody-works-on-it"
            )
            assert re.search(r"for \d+ s \(since 20\d\d-", other.said), other
        assert "swarmbook" in lab.call(["ps", "-fwwp", str(going.process.pid)]).expect(0).out
        lab.book("cancel", "--yes").refused(3, "LockHeld", f"process {going.process.pid}")
    done = going.wait().expect(0)
    assert len(lab.runs) == count + 1, "a run that was refused has left a folder"
    summary = lab.summary()
    assert summary["status"] == "completed", done
    reported = {
        f"{chapter['number']} {step['title']}": step["changes"]
        for chapter in summary["chapters"]
        for step in chapter["steps"]
    }
    assert not {step: changes for step, changes in reported.items() if changes}, done
    assert "Nothing to change." in "".join(step["text"] for step in steps(lab.runs[-1] / "03_build_swarm.ipynb"))
    assert containers(lab, NODES) == before
    assert {path.name for path in lab.runs[-1].glob("stack-*.yaml")} == {"stack-consul.yaml", "stack-galera.yaml"}
    assert not (lab.folder / "lock.json").exists()


# -- plans, drift and resuming ----------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing(lab: Lab) -> None:
    lab.need()
    before, runs = containers(lab, NODES), len(lab.runs)
    kept = {path: path.read_bytes() for path in lab.folder.rglob("*") if path.is_file()}
    done = lab.book("plan", "--check", "--out", "plan.json").expect(0, "nothing to change", "digest sha256:")
    assert lab.book("plan", "--json").expect(0).out == (lab.home / "plan.json").read_text(), (
        "the same world gives the same plan"
    )
    assert hashlib.sha256((lab.home / "plan.json").read_bytes()).hexdigest() in done.said
    for command, word in (("destroy", "DESTROY"), ("cancel", "CANCEL"), ("rebuild", "DESTROY")):
        lab.book("plan", "--for", command).expect(0, f"asks for {word}")
    assert containers(lab, NODES) == before
    assert {path: path.read_bytes() for path in lab.folder.rglob("*") if path.is_file()} == kept
    assert len(lab.runs) == runs and not (lab.folder / "lock.json").exists()


def test_drift_is_seen_stops_a_plan_and_is_mended_by_resuming(lab: Lab) -> None:
    lab.need()
    parent = lab.runs[0]
    sw2 = lab.machine("sw2")
    fstab = sw2.sh("cat /etc/fstab")
    lab.book("plan", "--out", "plan.json").expect(0)
    sw2.sh("sed -i /var.lib.docker/d /etc/fstab")
    lab.book("plan", "--check").expect(1, "entered in fstab", "sw2", "1 change on 1 host")
    before = containers(lab, NODES)
    lab.swarmbook("run", "--plan", "plan.json").refused(
        3,
        "PlanMismatch",
        "02, second disk",
        "not planned: sw2: entered in fstab",
        "swarmbook plan PARAMS",
        "swarmbook explain plan-no-longer-holds",
    )
    assert "docker" not in sw2.sh("cat /etc/fstab"), "the step was not begun"
    assert (lab.runs[-1] / "plan.json").read_bytes() == (lab.home / "plan.json").read_bytes()
    done = lab.swarmbook("run", "--resume", str(parent)).expect(0, f"resuming {parent.name} (completed)")
    proofs = {chapter["number"]: (chapter["proof"], chapter["changes"]) for chapter in lab.summary()["chapters"]}
    assert proofs == {number: ("drifted", 1) if number == "02" else ("verified", 0) for number in BOOK}, done
    assert sw2.sh("cat /etc/fstab") == fstab
    assert containers(lab, NODES) == before
    first = read_run(lab.runs[-1]).run
    assert first["parent"] == {"run": parent.name, "status": "completed", "head": read_run(parent).head}
    lab.swarmbook("audit", str(lab.runs[-1])).expect(0, "unchanged since it was recorded")
    report = (lab.runs[-1] / "report.html").read_text()
    assert parent.name in report


# -- looking -----------------------------------------------------------------------------------------------------------


def test_verify(lab: Lab) -> None:
    lab.need()
    result = lab.book("verify", "--json").expect(0).json
    assert [chapter["number"] for chapter in result["chapters"]] == ["05", "08"]
    assert (result["status"], result["exit_code"], result["changes"]) == ("completed", 0, 0)
    line = lab.book("verify", "--quiet").expect(0, f"{lab.name}: fine: ", " checks, 0 failed; ", str(lab.runs[-1])).said
    assert line.count("\n") == 1, line
    with held(lab):
        line = (
            lab.book("verify", "--quiet")
            .expect(3, f"{lab.name}: not verified: the cluster {lab.name} is being worked on")
            .said
        )
        assert line.count("\n") == 1, line


def test_a_trouble_is_reported_once_and_08_says_whether_the_database_serves(lab: Lab) -> None:
    """The swarm gives a node no new tasks: 05 fails, 08 does not. The hook hears of it, of nothing at the next look, and of its end."""
    lab.need()
    lab.book("verify").expect(0)
    tell = lab.home / "tell"
    tell.write_text('#!/bin/sh\ncat >> "$SWARMBOOK_HOME/heard"; printf "\\n\\n" >> "$SWARMBOOK_HOME/heard"\n')
    tell.chmod(0o755)

    def look(code: int) -> str:
        return lab.book("verify", "--on-change", on_finish="tell").expect(code).said

    def heard() -> list[dict[str, Any]]:
        text = (lab.home / "heard").read_text() if (lab.home / "heard").exists() else ""
        return [json.loads(part) for part in text.split("\n\n") if part.strip()]

    assert look(0) == "" and not heard()
    update = "docker node update --availability {} $(docker node ls -q --filter node.label=name=sw3)"
    lab.machine("sw1").sh(update.format("pause"))
    try:
        said = look(1)
        assert said.count("\n") == 1 and "; 05 verify_swarm failed" in said and "08 verify_galera failed" not in said
        assert [chapter["status"] for chapter in lab.summary()["chapters"]] == ["failed", "completed"]
        (first,) = heard()
        assert first["exit_code"] == 1 and {check["host"] for check in first["failed_checks"]} == {"sw3"}
        assert look(1) == "" and len(heard()) == 1
    finally:
        lab.machine("sw1").sh(update.format("active"))
    assert "fine" in look(0)
    report = heard()
    assert [each["exit_code"] for each in report] == [1, 0]
    assert look(0) == "" and heard() == report


@contextlib.contextmanager
def held(lab: Lab) -> Iterator[None]:
    """Someone else works on the cluster."""
    with Cluster(lab.name, lab.home).lock("a test"):
        yield


def test_status(lab: Lab) -> None:
    lab.need()
    rows = lab.book("status", "--json").expect(0).json
    assert [row["node"] for row in rows] == NODES
    for row in rows:
        assert (row["ssh"], row["engine"], row["swarm"], row["galera"]) == (
            "ok",
            "active",
            "active manager",
            "Synced, Primary",
        ), row
    lab.book("status").expect(0, "How to reach it:", *NODES)


def test_ls_ssh_scp(lab: Lab, tmp_path: Path) -> None:
    lab.need()
    lab.swarmbook("ls").expect(0, *NODES, "port 3306")
    assert lab.ssh("sw1", "hostname").expect(0).out.strip() == "sw1"
    lab.ssh("sw2", "exit 7").expect(7)
    lab.swarmbook("ssh", "sw9", "hostname").refused(2, "no node sw9", "sw1, sw2, sw3", "swarmbook explain node-unknown")
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_text("there and back\n")
    lab.swarmbook("scp", str(there), "sw3:/root/there").expect(0)
    lab.swarmbook("scp", "sw3:/root/there", str(back)).expect(0)
    assert back.read_text() == "there and back\n"
    lab.machine("sw3").sh("rm /root/there")


def test_env(lab: Lab) -> None:
    lab.need()
    inventory = json.loads((lab.folder / "cluster.json").read_text())["nodes"]
    address = next(node["private_address"] for node in inventory if node["name"] == "sw2")
    exports = (
        lab.swarmbook("env", "sw2").expect(0, f"export DOCKER_HOST=tcp://{address}:2376", "DOCKER_TLS_VERIFY=1").out
    )
    lab.swarmbook("env", "sw2", "--unset").expect(0, "unset DOCKER_HOST")
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    done = lab.call(
        ["sh", "-c", f"{exports}\ndocker node ls --format '{{{{.Hostname}}}} {{{{.Status}}}} {{{{.ManagerStatus}}}}'"]
    ).expect(0)
    listed = sorted(line.split() for line in done.out.splitlines())
    assert [line[:2] for line in listed] == [[node, "Ready"] for node in NODES]
    assert sorted(line[2] for line in listed) == ["Leader", "Reachable", "Reachable"]


# -- Consul ------------------------------------------------------------------------------------------------------------


def test_consul_api(lab: Lab) -> None:
    lab.need()
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(lab.ca("consul"))
        token = {"X-Consul-Token": lab.secret("consul-management-token")}
        for node in NODES:
            session.mount("https://", NamedAdapter(NamedContext.of(node, lab.ca("consul").read_bytes())))
            api = f"https://{lab.end(node, CONSUL)}/v1"
            members = session.get(f"{api}/agent/members", headers=token, timeout=60).json()
            assert sorted((member["Name"], member["Status"]) for member in members) == [(name, 1) for name in NODES]
            assert session.put(f"{api}/kv/tests/{node}", headers=token, data=node, timeout=60).json() is True
            for method, path in (
                ("GET", f"kv/tests/{node}"),
                ("PUT", f"kv/tests/{node}"),
                ("GET", "acl/tokens"),
                ("PUT", "agent/leave"),
            ):
                assert session.request(method, f"{api}/{path}", timeout=60).status_code == 403, (
                    f"{method} {path} without a token"
                )
            healthy = session.get(
                f"{api}/health/service/galera", params={"passing": "1"}, headers=token, timeout=60
            ).json()
            assert len(healthy) == 3, healthy
        other = NamedAdapter(NamedContext.of("sw1", lab.ca("consul").read_bytes()))
        session.mount("https://", other)
        with pytest.raises(requests.exceptions.SSLError):  # another node, behind this one's port
            session.get(f"https://{lab.end('sw2', CONSUL)}/v1/agent/members", headers=token, timeout=60)
    with (
        requests.Session() as session,
        pytest.raises(requests.exceptions.SSLError),
    ):  # the world's CAs did not sign this
        session.get(f"{api}/agent/members", headers=token, timeout=60, verify=True)


# -- the database ------------------------------------------------------------------------------------------------------


def test_sql_over_tls(lab: Lab) -> None:
    lab.need()
    for number, node in enumerate(NODES):
        status = wsrep(lab, node)
        assert (status["local_state_comment"], status["cluster_size"], status["cluster_status"], status["ready"]) == (
            "Synced",
            "3",
            "Primary",
            "ON",
        )
        with login(lab, node, "app", database="app") as connection, connection.cursor() as cursor:
            cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
            assert cursor.fetchone()[1] in ("TLSv1.2", "TLSv1.3")
            cursor.execute("CREATE TABLE IF NOT EXISTS visits (node VARCHAR(8) PRIMARY KEY)")
            cursor.execute("INSERT INTO visits VALUES (%s)", (node,))
        for other in NODES:
            rows = ask(
                lab,
                other,
                "SET STATEMENT wsrep_sync_wait = 1 FOR SELECT node FROM visits ORDER BY node",
                user="app",
                database="app",
            )
            assert [row[0] for row in rows] == NODES[: number + 1]
        with pytest.raises(pymysql.err.OperationalError) as error, login(lab, node, "app"):
            ask(lab, node, "SELECT User FROM mysql.user", user="app")
        assert error.value.args[0] == 1142  # the app's user sees its own database alone


def test_sql_without_tls_is_refused(lab: Lab) -> None:
    lab.need()
    for node in NODES:
        for user in (ADMIN, "app"):
            with pytest.raises(pymysql.err.OperationalError) as error, login(lab, node, user, tls=False):
                pass
            assert error.value.args[0] in (1045, 3159, 4151), error.value


def test_sql_certificate_is_of_this_cluster(lab: Lab) -> None:
    lab.need()
    host, _, port = lab.end("sw1", SQL).partition(":")
    with pytest.raises(pymysql.err.OperationalError, match="certificate verify failed"):
        pymysql.connect(host=host, port=int(port), user="root", password="", ssl=ssl.create_default_context())


def test_an_administrator_who_is_wanted_no_more_is_let_in_no_more(lab: Lab) -> None:
    lab.need()
    assert ask(lab, "sw2", "SELECT 1") == [(1,)]
    lab.book("run", "--only", "07", mariadb_admin="").expect(0)
    with pytest.raises(pymysql.err.OperationalError) as error:
        ask(lab, "sw2", "SELECT 1")
    assert error.value.args[0] == 1045
    lab.book("run", "--only", "07").expect(0)
    assert ask(lab, "sw2", "SELECT 1") == [(1,)]


# -- one notebook by itself ---------------------------------------------------------------------------------------------


def test_papermill(lab: Lab) -> None:
    lab.need()
    out = lab.home / "out.ipynb"
    lab.call([*program("papermill"), "notebooks/05_verify_swarm.ipynb", str(out), "-f", lab.file()]).expect(0)
    cells = code_cells(out)
    assert {cell.metadata.papermill.status for cell in cells} == {"completed"}
    found = list(steps(out))
    assert [bool(step["checks"]) for step in found] == [True, True, True, False], "the certificates are a table"
    assert not any(step["failed"] or step["changes"] for step in found)


def test_jupyter_execute(lab: Lab) -> None:
    """After an edit of the parameters cell, as one would do it by hand; and the home is found from ``notebooks/``."""
    lab.need()
    mine = lab.home / "notebooks" / "mine.ipynb"
    book = nbformat.read(lab.home / "notebooks" / "05_verify_swarm.ipynb", as_version=4)
    cell = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source = re.sub(r'^cluster: str = "\w+"', f'cluster: str = "{lab.name}"', cell.source, flags=re.M)
    assert lab.name in cell.source
    nbformat.write(book, mine)
    env = {key: value for key, value in lab.env.items() if key != "SWARMBOOK_HOME"}
    done = subprocess.run(
        [*program("jupyter-execute"), "--inplace", str(mine)],
        cwd=lab.home,
        env=env,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = list(steps(mine))
    assert [bool(step["checks"]) for step in found] == [True, True, True, False] and not any(
        step["failed"] for step in found
    )
    mine.unlink()


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_killed_member_comes_back_without_a_bootstrap(lab: Lab) -> None:
    """The member that founded the cluster, killed: it joins like any other, and no second cluster comes of it."""
    lab.need()
    ask(lab, "sw2", "CREATE TABLE IF NOT EXISTS app.kept (id INT PRIMARY KEY)")
    ask(lab, "sw1", "REPLACE INTO app.kept VALUES (42)")
    uuid = wsrep(lab, "sw2")["cluster_state_uuid"]
    marks = "cd /var/lib/docker/volumes/galera-data/_data; ls bootstrap bootstrap.used bootstrapped 2>/dev/null; cat bootstrapped"
    _, before = lab.machine("sw1").try_sh(marks)
    machine, label = lab.machine("sw1"), "com.docker.swarm.service.name=galera_sw1"
    old = machine.sh(f"docker ps -q --filter label={label}")
    # Containers of earlier starts, as the swarm keeps them: they say nothing about the start that is waited for now.
    image = machine.sh(f"docker inspect --format '{{{{.Config.Image}}}}' {old}")
    machine.sh(
        f"for i in 1 2 3 4 5; do docker run --name ended$i --label {label} --entrypoint false {image}; done; true"
    )
    try:
        lab.ssh("sw1", f"docker exec {old} bash -c 'kill -9 $(pidof mariadbd)'").expect(0)
        until(lambda: not machine.sh(f"docker ps -q --filter id={old}"), why="the container goes on without its server")
        lab.book("run", "--from", "07").expect(0)
    finally:
        machine.sh("docker rm ended1 ended2 ended3 ended4 ended5")
    status = wsrep(lab, "sw1")
    assert (status["local_state_comment"], status["cluster_size"]) == ("Synced", "3")
    assert machine.sh(f"docker ps -q --filter label={label}") != old
    assert {wsrep(lab, node)["cluster_state_uuid"] for node in NODES} == {uuid}
    assert ask(lab, "sw1", "SELECT id FROM app.kept") == [(42,)]
    _, after = lab.machine("sw1").try_sh(marks)
    assert after == before
    assert before.split()[:2] == ["bootstrap.used", "bootstrapped"], before


@pytest.mark.long
def test_settings_of_ones_own(lab: Lab) -> None:
    """A server tries them first; then the members are given them, one after the other."""
    lab.need()
    lab.book("run", "--from", "07", mariadb_settings=["max_conections=77"]).refused(
        2, "unknown variable 'max_conections=77'", "swarmbook explain settings-refused"
    )
    (lab.home / "my.cnf").write_text("[mysqld]\nmax_connections = 77\n")
    lab.book("run", "--from", "07", mariadb_settings=["file:my.cnf", "innodb_io_capacity=444"]).expect(0)
    for node in NODES:
        assert ask(lab, node, "SELECT @@max_connections, @@innodb_io_capacity") == [(77, 444)]
        assert wsrep(lab, node)["cluster_size"] == "3"
    lab.book("run", "--from", "07").expect(0)
    assert ask(lab, "sw1", "SELECT @@innodb_io_capacity") == [(200,)]


# -- a second database --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_second_cluster_with_init_scripts(lab: Lab) -> None:
    """Of another name on the same swarm, not published, on two of the nodes; its data is its own."""
    lab.need()
    scripts = lab.home / "scripts"
    scripts.mkdir(exist_ok=True)
    (scripts / "1-table.sql").write_text(
        "CREATE TABLE reported (id INT AUTO_INCREMENT PRIMARY KEY, by_whom VARCHAR(20), host VARCHAR(40));\n"
    )
    (scripts / "2-rows.sql.gz").write_bytes(
        gzip.compress(b"INSERT INTO reported (by_whom, host) VALUES ('sql.gz', @@hostname);\n")
    )
    (scripts / "3-more.sh").write_text(
        """mariadb app -e "INSERT INTO reported (by_whom, host) VALUES ('sh', @@hostname)"\n"""
    )
    (scripts / "4-whole.sql.xz").write_bytes(lzma.compress(b"source rows.dump;\n"))
    (scripts / "rows.dump").write_text("INSERT INTO reported (by_whom, host) VALUES ('source', @@hostname);\n")
    (scripts / "5-slow.sql").write_text("SELECT SLEEP(20);\nCREATE TABLE cache (id INT) ENGINE=MyISAM;\n")
    (scripts / "README").write_text("not a script\n")
    other = {
        "mariadb_cluster_name": "other",
        "mariadb_port": 0,
        "galera_nodes": ["sw2", "sw3"],
        "mariadb_init_scripts": "scripts",
        "wait_timeout": 15,  # of what only waits: a script at work is not ended
    }
    before = containers(lab, NODES)
    lab.book("run", "--from", "07", **other).refused(2, "README: no script", "swarmbook explain init-scripts-refused")
    assert containers(lab, NODES) == before, "nothing was founded"
    (scripts / "README").unlink()
    lab.book("run", "--from", "07", **other).refused(1, "app.cache (MyISAM)")
    other |= {"mariadb_unreplicated": ["app.cache"]}
    lab.book("run", "--from", "07", **other).expect(0)
    assert [chapter["number"] for chapter in lab.summary()["chapters"]] == ["07", "08"]
    assert {key: value for key, value in containers(lab, NODES).items() if " other_" not in key} == before
    for node in ("sw2", "sw3"):
        inside = f"docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=other_{node}) mariadb -N -e"
        assert lab.machine(node).sh(f'{inside} "SELECT by_whom, host FROM app.reported ORDER BY id"').split() == [
            "sql.gz",
            "other-sw2",
            "sh",
            "other-sw2",
            "source",
            "other-sw2",
        ]
        assert lab.machine(node).sh(f"{inside} \"SHOW STATUS LIKE 'wsrep_cluster_size'\"").split()[-1] == "2"
        assert "kept" not in lab.machine(node).sh(f'{inside} "SHOW TABLES IN app"')
    assert lab.secret("other-password") != lab.secret("galera-password")
    with pytest.raises(pymysql.err.OperationalError) as refused, login(lab, "sw2", cluster="other"):
        pass
    assert refused.value.args[0] == 1045, "another database's administrator"
    assert ("reported",) not in ask(lab, "sw2", "SHOW TABLES IN app")
    assert wsrep(lab, "sw2")["cluster_size"] == "3"
    # Again: nothing to do, and the scripts do not run a second time.
    lab.book("run", "--from", "07", **other).expect(0)
    assert lab.summary()["changes"] == 0
    assert lab.machine("sw3").sh(f'{inside} "SELECT COUNT(*) FROM app.reported"') == "3"


# -- a fourth node ------------------------------------------------------------------------------------------------------

FOUR = [*NODES, "sw4"]


def test_a_node_is_added_and_only_that(lab: Lab) -> None:
    lab.need()
    before = containers(lab, NODES)
    known = (lab.folder / "known_hosts").read_text()
    planned = lab.book("plan", "--out", "four.json", nodes=FOUR).expect(0, "machine created", "assumed").out
    assert not re.search(r"\bsw[123]\b.*(created|installed|joined|merged)", planned), planned
    # Held to the plan: what it does on the new node is what was planned, and nothing on the others.
    lab.swarmbook("run", "--plan", "four.json").expect(0, "held to the plan sha256:")
    assert containers(lab, NODES) == before
    assert (lab.folder / "known_hosts").read_text().startswith(known)
    changed = {}
    for notebook in sorted(lab.runs[-1].glob("*.ipynb")):
        for step in steps(notebook):
            if step["changes"]:
                summary = step["text"].splitlines()[0]
                changed[notebook.name[:2]] = summary
                assert not re.search(r"\bsw[123]: ", summary), f"{notebook.name}: {summary}"
    assert set(changed) == {"01", "02", "03", "04", "07"}, changed
    node = json.loads(lab.machine("sw1").sh("docker node inspect sw4"))[0]
    assert (node["Spec"]["Role"], node["Status"]["State"]) == ("worker", "ready")
    services = lab.machine("sw4").sh("docker ps --format '{{.Label \"com.docker.swarm.service.name\"}}'").split()
    assert sorted(services) == ["consul_client", "galera_sw4"]
    assert "btrfs" in lab.machine("sw4").sh("findmnt -n -o FSTYPE /var/lib/docker")
    for name in FOUR:
        assert wsrep(lab, name)["cluster_size"] == "4"
    assert ask(lab, "sw4", "SELECT COUNT(*) FROM mysql.user WHERE User = 'app'") == [(1,)]


def availability(lab: Lab, node: str) -> str:
    select = f"$(docker node ls -q --filter node.label=name={node})"
    return lab.machine("sw1").sh(f"docker node inspect --format '{{{{.Spec.Availability}}}}' {select}")


@pytest.mark.long
def test_a_node_that_is_gone_stops_nothing(lab: Lab) -> None:
    lab.need()
    if not lab.machine("sw4").there:
        lab.book("run", nodes=FOUR).expect(0)
    lab.docker.api.kill(lab.machine("sw4").container)
    until(lambda: wsrep(lab, "sw1")["cluster_size"] == "3", why="the others do not notice")
    done = lab.book("run", "--from", "03", "--without", "sw4", nodes=FOUR)
    done.expect(0, "WITHOUT sw4: what runs there, its data and its place in the swarm stay as they are")
    assert availability(lab, "sw4") == "drain", "or the swarm would wait for it in the middle of an update"
    lab.book("verify", "--without", "sw4", "--quiet", nodes=FOUR).expect(0)
    lab.machine("sw4").start()
    lab.book("run", nodes=FOUR).expect(0)
    assert availability(lab, "sw4") == "active" and wsrep(lab, "sw1")["cluster_size"] == "4"


@pytest.mark.long
@pytest.mark.long
def test_a_manager_whose_machine_is_made_again_joins_in_one_run(lab: Lab) -> None:
    lab.need()
    nodes = FOUR if lab.machine("sw4").there else NODES
    machine, api = lab.machine("sw3"), lab.docker.api
    machine.try_sh("lab-machine detach")
    api.remove_container(machine.container, force=True, v=True)
    api.remove_volume(f"swarmbook-{lab.name}-sw3-disk", force=True)
    lab.book("run", nodes=nodes).expect(0)
    listed = (
        lab.machine("sw1").sh("docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'").splitlines()
    )
    assert sorted(line.split()[0] for line in listed) == nodes, "its dead entry is gone"
    assert sum("Reachable" in line or "Leader" in line for line in listed) == 3, listed
    for name in nodes:
        assert wsrep(lab, name)["cluster_size"] == str(len(nodes))


# -- the end -----------------------------------------------------------------------------------------------------------


def test_cancel_wants_the_word(lab: Lab) -> None:
    lab.need()
    before = lab.leftovers()
    for verb, word in (("destroy", "DESTROY"), ("cancel", "CANCEL"), ("rebuild", "DESTROY")):
        done = lab.book(verb, nodes=FOUR if lab.machine("sw4").there else NODES)
        done.expect(
            2,
            "ConfirmationMissing",
            "nothing was touched",
            word,
            "--yes",
            "This will be removed, for good:",
            "swarmbook explain not-confirmed",
        )
    assert lab.leftovers() == before


def test_cancel_leaves_nothing(lab: Lab) -> None:
    lab.need()
    nodes = FOUR if lab.machine("sw4").there else NODES
    api = lab.docker.api
    bridge = "br-" + api.networks(names=[f"swarmbook-{lab.name}"])[0]["Id"][:12]
    disks = [api.inspect_volume(f"swarmbook-{lab.name}-{node}-disk")["Mountpoint"] + "/disk.img" for node in nodes]
    root = os.geteuid() == 0 and all(Path(disk).exists() for disk in disks)
    inodes = [f"]:{Path(disk).stat().st_ino} (" for disk in disks] if root else []
    if inodes:
        attached = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
        assert all(inode in attached for inode in inodes), attached
    assert len(lab.leftovers()) == 2 * len(nodes) + 1
    lab.book("cancel", "--yes", nodes=nodes).expect(0, "This will be removed, for good:", *nodes)
    assert lab.leftovers() == []
    assert not lab.folder.exists()
    assert not lab.kernels()
    assert lab.runs, "the record of the runs stays"
    if inodes:
        attached = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
        assert not [inode for inode in inodes if inode in attached], attached
    if root:
        assert not Path("/sys/class/net", bridge).exists()
        for tool in ("iptables-save", "ip6tables-save", "iptables-legacy-save"):
            if shutil.which(tool):
                assert bridge not in subprocess.run([tool], capture_output=True, text=True, check=False).stdout
    lab.book("cancel", "--yes", nodes=nodes).expect(0, "Nothing to cancel.")
    lab.unbuilt()
