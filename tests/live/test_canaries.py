"""One node, secrets by reference, a founding that fails with all of them on its lips: none shows in anything that is kept or can be listed.

What is left out of the search, by name, because it is where the operator put the secret or had it put:

- the environment variables and files that the references name, and the initial script that says the secrets aloud
- on the node, the log of the container in which that script ran, and the copy of it beside the data that it left
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from swarmbook.base.secrets import Secret
from swarmbook.phases.galera.logins import ED25519, password_hash

from ..canaries import files_below, search
from .conftest import Done, Lab, Watch

NODE = "c1"
APP = "canary-app <51>&'q\"/+x"
#: What the servers keep of it: an offline guess could be tried on it.
KEPT = password_hash(ED25519, Secret("app", APP))
TOKEN = str(uuid.UUID("ca4a51e5-0053-4053-8053-000000000053"))
GOSSIP = base64.b64encode(b"canary gossip 54, 32 bytes long!").decode()
CANARIES = (APP, TOKEN, GOSSIP)
ENV = {"CANARY_APP": APP, "CANARY_TOKEN": TOKEN}

#: Runs inside the member, as its operator's own: says the passwords in several clothes, and what else it knows, and fails.
SCRIPT = """value=$(cat <<'END'
PASSWORD
END
)
echo "IDENTIFIED BY $value"
printf 'x%s' "$value" | base64 -w 0; echo
printf '%s' "$value" | od -An -v -tx1 | tr -d ' \\n'; echo
echo 'TOKEN GOSSIP'
echo 'ERROR: reported all I know'
exit CODE
"""


def script(lab: Lab, code: int) -> None:
    folder = lab.home / "init"
    folder.mkdir(exist_ok=True)
    (folder / "10-talks.sh").write_text(
        SCRIPT.replace("PASSWORD", APP).replace("TOKEN", TOKEN).replace("GOSSIP", GOSSIP).replace("CODE", str(code))
    )


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(
        [NODE],
        swarm_managers=1,
        lab_disk_gb=3,
        mariadb_port=0,
        mariadb_init_scripts="init",
        mariadb_password="env:CANARY_APP",
        consul_management_token="env:CANARY_TOKEN",
        consul_gossip_key="file:by-file/gossip",
    )
    (lab.home / "by-file").mkdir()
    (lab.home / "by-file" / "gossip").write_text(GOSSIP + "\n")
    return lab


def on_the_node(lab: Lab, but: str) -> dict[str, bytes]:
    """What anyone can list there: engine, containers' logs but for those named, processes, journals."""
    machine = lab.machine(NODE)
    scripts = {
        "docker inspect": "docker inspect $(docker ps -aq) $(docker service ls -q) $(docker network ls -q) $(docker volume ls -q) $(docker image ls -q)",
        "swarm objects": "docker node inspect self; for k in secret config; do docker $k inspect $(docker $k ls -q); done",
        "container logs": f"for c in $(docker ps -aq --no-trunc); do case ' {but} ' in *\" $c \"*) ;; *) docker logs $c 2>&1 ;; esac; done",
        "journal": "journalctl --no-pager -o export | cat; ls -R /root; cat /root/.*history 2>/dev/null; true",
        "ps": "ps -efww",
        "processes": "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true",
    }
    return {
        **{name: machine.sh(command).encode() for name, command in scripts.items()},
        "inspect of the machine": json.dumps(machine.inspect()).encode(),
    }


def without_references(seen: bytes) -> bytes:
    """A process's environment, without the variables that the operator has set."""
    for name, value in ENV.items():
        seen = seen.replace(f"{name}={value}".encode(), b"")
    return seen


def everywhere(lab: Lab, said: Mapping[str, Done], watched: Watch, but: str) -> dict[str, bytes]:
    places = {f"terminal: {name}": done.said.encode() for name, done in said.items()}
    for folder in ("runs", "logs"):
        places |= {f"{folder}/{name}": content for name, content in files_below(lab.home / folder).items()}
    places |= {
        f"cluster/{path.name}": path.read_bytes()
        for path in [lab.folder / "cluster.json", *lab.folder.glob("stacks/*")]
    }
    places |= {f"{NODE}: {name}": content for name, content in on_the_node(lab, but).items()}
    for seen in watched.seen:
        start = without_references(seen)[:60].replace(b"\0", b" ").decode(errors="replace")
        places[f"a process during the run, {start!r} {hash(seen)}"] = without_references(seen)
    return places


def test_no_canary_is_found_and_the_search_would_find_them(lab: Lab, watch: type[Watch]) -> None:
    machine = lab.machine(NODE)
    said: dict[str, Done] = {}
    watched = watch()
    script(lab, 1)
    with watched:
        said["failing"] = lab.book("run", env=ENV).refused(
            3,
            "does not bootstrap",
            "10-talks.sh",
            "********",
            "the lines that matter:",
            "swarmbook explain founding-failed",
        )
        failed = lab.runs[-1]
        talked = " ".join(
            machine.sh("docker ps -aq --no-trunc --filter label=com.docker.swarm.service.name=galera_c1").split()
        )
        said["logs"] = lab.swarmbook("logs", lab.file(), "--json", env=ENV).expect(0)
        script(lab, 0)
        said["fixed"] = lab.book("run", env=ENV).expect(0, "How to reach it:")
        said["verify"] = lab.book("verify", env=ENV).expect(0)
        said["status"] = lab.book("status", env=ENV).expect(0)
    if os.geteuid() == 0 and watched.seen:
        assert any(b"mariadbd" in seen for seen in watched.seen), "the run was not watched"

    # The canaries are what is in use: the leak did happen, and was masked at each stop of its way.
    for path in (
        failed / "07_bootstrap_galera.ipynb",
        failed / "ledger.jsonl",
        failed / "summary.json",
        failed / "report.html",
        failed / "logs" / f"{NODE}.txt",
    ):
        text = path.read_text()
        assert "10-talks.sh" in text and "********" in text, path
    assert APP in machine.sh("cat /var/lib/docker/volumes/galera-data/_data/aborted-*/failed-start.log"), (
        "the script did not talk"
    )
    inside = "docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=galera_c1)"
    assert KEPT in machine.sh(f"{inside} mariadb -N -e 'SELECT Priv FROM mysql.global_priv'")
    assert "password" not in machine.sh(f"{inside} ls /run/secrets"), "a member needs none"

    places = everywhere(lab, said, watched, talked)
    assert {f"logs/{lab.name}/{Path(said['logs'].json['folder']).name}/{NODE}.txt"} <= places.keys()
    assert min(len(content) for place, content in places.items() if place.startswith(f"{NODE}: ")) > 1000
    found = search((*CANARIES, KEPT), places)
    assert not found, sorted(found)

    # The control: the same step, the same search, no mask.
    script(lab, 1)
    lab.book("run", "--only", "07", env={**ENV, "SWARMBOOK_MASK": "off"}, mariadb_cluster_name="open").expect(
        3, "does not bootstrap", APP
    )
    found = search(CANARIES, files_below(lab.runs[-1]))
    assert {canary for canary, _ in found} == set(CANARIES)
    assert {"07_bootstrap_galera.ipynb", "ledger.jsonl", "summary.json", f"logs/{NODE}.txt"} <= {
        place for _, place in found
    }, found


def test_logs_refuses_what_it_could_not_mask(lab: Lab) -> None:
    """Without the variable no one knows what to mask: refused before a node is asked."""
    if not lab.folder.exists():
        script(lab, 0)
        lab.book("run", "--to", "01", env=ENV).expect(0)
    folders: list[Any] = list((lab.home / "logs").rglob("*"))
    lab.swarmbook("logs", lab.file()).refused(
        2,
        "the secret consul_management_token is not there",
        "export CANARY_TOKEN=",
        "swarmbook explain secret-not-there",
    )
    assert list((lab.home / "logs").rglob("*")) == folders
    lab.swarmbook("logs", lab.file(), env=ENV).expect(0)
