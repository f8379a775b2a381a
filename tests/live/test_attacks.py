"""What an attacker tried on live clusters, tried again: each of these got in before.

One lab of a manager and two workers, built once. An attacker has what a worker or a container of it has: its keys, its root, its words.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import shlex
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest
import requests

from swarmbook.access import hosts
from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import Host
from swarmbook.access.pki import Authority, Leaf, Purpose, operator
from swarmbook.access.tls import NamedAdapter, NamedContext
from swarmbook.base.codes import Code
from swarmbook.book.book import Book
from swarmbook.model.checks import Check
from swarmbook.params import Params
from swarmbook.phases.support.wall import Wall
from swarmbook.phases.walls import step, work
from swarmbook.phases.walls.step import Build, Wanted
from swarmbook.testing.errors import raises

from .conftest import Done, Lab, until
from .strangers import gets_into, is_answered, smuggled

NODES = ["a1", "a2", "a3"]
SQL = 3308
#: How long a server that lets a client in may leave it without a word, seconds.
QUIET_S = 3
#: What an attack leaves on a machine if it got in.
OWNED = "/root/owned"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=1, lab_disk_gb=3, mariadb_port=SQL)


def member(lab: Lab, node: str) -> str:
    return lab.machine(node).sh(f"docker ps -q --filter label=com.docker.swarm.service.name=galera_{node}")


def address_of(lab: Lab, node: str) -> str:
    nodes = json.loads((lab.folder / "cluster.json").read_text())["nodes"]
    return str(next(entry for entry in nodes if entry["name"] == node)["private_address"])


def unharmed(lab: Lab) -> None:
    owned = [node for node in NODES if lab.machine(node).try_sh(f"ls {OWNED}")[0] == 0]
    assert not owned, f"the attack got in: {owned}"


# -- founding is once --------------------------------------------------------------------------------------------------


def test_a_mark_that_was_left_over_founds_no_second_cluster(lab: Lab) -> None:
    """Of a founding whose deployment failed, say. Before, the member that was to join founded a cluster of its own."""
    lab.book("run", "--to", "06").expect(0)
    machine = lab.machine("a2")
    folder = "/var/lib/docker/volumes/galera-data/_data"
    machine.sh(
        f"docker volume create --label swarmbook.cluster={lab.name} galera-data && echo left-over > {folder}/bootstrap"
    )
    lab.book("run", "--from", "07").expect(0)
    assert machine.try_sh(f"ls {folder}/bootstrap")[0] != 0
    status = "docker exec {id} galera-status"
    uuids = {
        json.loads(lab.machine(node).sh(status.format(id=member(lab, node))))["cluster_state_uuid"] for node in NODES
    }
    assert len(uuids) == 1


def test_a_member_takes_no_mark_that_its_service_was_not_given(lab: Lab, stolen: dict[str, Leaf]) -> None:
    """The container itself refuses, whatever 07 has looked at."""
    machine = lab.machine("a3")
    image = machine.sh("docker images --format '{{.Repository}}:{{.Tag}}' swarmbook/galera | head -n 1")
    files: dict[str, bytes] = {}
    for kind, names in (
        ("replication", ("ca", "cert", "key")),
        ("database", ("client_ca", "server_cert", "server_key")),
    ):
        contents = lab.ca(kind).read_bytes(), stolen[kind].certificate, stolen[kind].key
        files |= {f"{name}.pem": content for name, content in zip(names, contents, strict=True)}
    machine.sh(
        "mkdir -p /root/fresh /root/secrets && echo left-over > /root/fresh/bootstrap\n"
        + "\n".join(
            f"printf %s {shlex.quote(content.decode())} > /root/secrets/{name}" for name, content in files.items()
        )
    )
    start = (
        "timeout 60 docker run --rm -v /root/fresh:/var/lib/galera -v /root/secrets:/run/secrets:ro -e GALERA_CLUSTER=galera "
        f"-e GALERA_MEMBER=galera-a2 -e GALERA_PEERS=galera -e GALERA_SUBNET=172.16.0.0/12 {{more}} {image}"
    )
    try:
        for more in ("", "-e GALERA_FOUNDING=another"):
            code, said = machine.try_sh(start.format(more=more))
            assert code == 1 and "it is not of this deployment, so no cluster is founded" in said, said
        assert (
            machine.sh("cat /root/fresh/bootstrap") == "left-over"
            and machine.try_sh("ls /root/fresh/data/mysql")[0] != 0
        )
    finally:
        machine.sh("rm -rf /root/fresh /root/secrets")


def test_another_order_of_the_members_changes_nothing(lab: Lab) -> None:
    lab.book("run", "--only", "07", galera_nodes=["a2", "a1", "a3"]).expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0


# -- an image is what its tag says -------------------------------------------------------------------------------------


def test_other_bytes_under_an_images_tag_are_noticed_and_replaced(lab: Lab) -> None:
    """A tag names the content: the next run notices who puts something else under it on a node."""
    wanted = json.loads((lab.folder / "images.json").read_text())["images"]
    # The line that docs/security.md has.
    content = f"""docker image inspect -f '{{{{join .RootFS.Layers "\\n"}}}}' {wanted["consul"]} | head -c -1 | sha256sum | cut -c 1-12"""
    right = wanted["consul"].rpartition("-")[2]
    assert lab.machine("a3").sh(content) == right
    lab.machine("a3").sh(f"docker tag {wanted['galera']} {wanted['consul']}")
    assert lab.machine("a3").sh(content) != right
    lab.book("plan", "--only", "03", "--check").expect(1)
    lab.book("run", "--only", "03").expect(0)
    assert lab.machine("a3").sh(content) == right
    for image in ("consul", "galera"):
        bill = json.loads((lab.runs[-1] / "sbom" / f"{image}.cdx.json").read_text())
        assert f"{bill['metadata']['component']['name']}:{bill['metadata']['component']['version']}" == wanted[image]
        assert len(bill["components"]) > 50
    packages = {component["name"]: component["version"] for component in bill["components"]}
    installed = lab.machine("a3").sh(
        f"docker run --rm --entrypoint dpkg-query {wanted['galera']} -W -f '${{Version}}' galera-4"
    )
    assert packages["galera-4"] == installed


# -- certificates say what one may do ----------------------------------------------------------------------------------


def leaf_of(lab: Lab, purpose: Purpose, name: str) -> Leaf:
    folder = lab.folder / "pki" / purpose.value
    return Leaf(name, (folder / f"{name}.pem").read_bytes(), (folder / f"{name}.key").read_bytes())


@pytest.fixture(scope="module")
def stolen(lab: Lab) -> dict[str, Leaf]:
    """What lies on a worker, by its purpose."""
    return {
        "engine": leaf_of(lab, Purpose.ENGINE, "a2"),
        "consul": leaf_of(lab, Purpose.CONSUL, "a2"),
        "replication": leaf_of(lab, Purpose.REPLICATION, "galera-a2"),
        "database": leaf_of(lab, Purpose.DATABASE, "galera-a2"),
    }


@contextlib.contextmanager
def chain(tmp_path: Path, leaf: Leaf) -> Iterator[Path]:
    file = tmp_path / "leaf.pem"
    file.touch(mode=0o600)
    file.write_bytes(leaf.key + leaf.certificate)
    yield file
    file.unlink()


def let_in(address: str, port: int, file: Path, *, before: bytes = b"", say: bytes = b"") -> bool:
    """Whether a server goes on with a client that shows this: it answers, or waits; a client it refuses gets an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(file)
    with socket.create_connection((address, port), timeout=30) as raw:
        raw.sendall(before)
        try:
            with context.wrap_socket(raw) as stream:
                stream.settimeout(QUIET_S)
                stream.sendall(say)
                return bool(stream.recv(1))
        except TimeoutError:
            return True
        except (ssl.SSLError, ConnectionError):
            return False


def replicates(lab: Lab, node: str, leaf: Leaf) -> bool:
    """Whether a member's replication port speaks with this: asked from a container on the overlay, where it is reached."""
    machine, id = lab.machine(node), member(lab, node)
    pem = (leaf.key + leaf.certificate).decode()
    said = machine.sh(
        f"printf %s {shlex.quote(pem)} | docker exec -i {id} sh -c 'cat > /tmp/stolen.pem'\n"
        f"docker exec {id} sh -c '(sleep {QUIET_S}) | timeout 20 openssl s_client -connect galera-a1:4567 -cert /tmp/stolen.pem "
        "-key /tmp/stolen.pem -quiet 2>/dev/null | head -c 8 | wc -c; rm /tmp/stolen.pem'"
    )
    return int(said.split()[-1]) > 0


AT = ("engine", "consul", "replication")


@pytest.mark.parametrize(("shown", "at"), list(itertools.product(["engine", "consul", "replication", "database"], AT)))
def test_a_certificate_is_worth_something_for_its_purpose_only(
    lab: Lab, stolen: dict[str, Leaf], tmp_path: Path, shown: str, at: str
) -> None:
    """Before, each of them was root on every node: the engine took any, and so did raft and the replication."""
    lab.need()
    address = address_of(lab, "a1")
    if at == "replication":
        found = replicates(lab, "a2", stolen[shown])
    else:
        with chain(tmp_path, stolen[shown]) as file:
            found = (
                let_in(address, 2376, file, say=b"GET /info HTTP/1.0\r\n\r\n")
                if at == "engine"
                else let_in(address, 8300, file, before=b"\x03")  # RPC over TLS
            )
    # The engine's own certificate is a server's: nothing that lies on a node opens an engine.
    assert found is (shown == at and at != "engine")


def test_the_operator_opens_the_engine(lab: Lab, tmp_path: Path) -> None:
    """So that the test above can tell."""
    address = address_of(lab, "a1")
    with chain(tmp_path, operator(Authority(lab.folder / "pki" / "engine", ""))) as file:
        assert let_in(address, 2376, file, say=b"GET /info HTTP/1.0\r\n\r\n")


def test_an_engine_listens_where_it_must_only(lab: Lab) -> None:
    for node in NODES:
        listening = lab.machine(node).sh("ss -Hltn sport = :2376").split()
        assert not listening[3].startswith(("0.0.0.0", "*", "[::]")), listening


def test_no_key_of_an_engine_or_a_peer_is_in_reach_of_the_database(lab: Lab) -> None:
    """As the server's own user, who is whom a fault in MariaDB makes of a client."""
    for node in NODES:
        held = lab.machine(node).sh(
            f"docker exec -u mysql {member(lab, node)} sh -c 'cat /run/galera/tls/*.pem /dev/shm/galera-tls/*.pem 2>/dev/null; true'"
        )
        assert held.count("BEGIN PRIVATE KEY") == 2, "replication's and the database's own"
        for purpose, name in ((Purpose.ENGINE, node), (Purpose.CONSUL, node)):
            key = leaf_of(lab, purpose, name).key.decode().splitlines()[1]
            assert key not in held


# -- containers may do little ------------------------------------------------------------------------------------------


def test_the_server_cannot_have_root_write_elsewhere(lab: Lab) -> None:
    """Root writes the announcement's body and the health's mark; before, into a folder of the server's."""
    for attack in (
        "ln -sf /etc/owned /run/galera/announce.json",
        "ln -sf /etc/owned /run/galera/ready",
        "ln -sf /etc/owned /run/galera/tls/key.pem",
        "touch /etc/owned /usr/local/bin/owned",
    ):
        assert lab.machine("a2").try_sh(f"docker exec -u mysql {member(lab, 'a2')} sh -c {shlex.quote(attack)}")[0] != 0


def test_containers_have_few_powers_and_a_root_that_cannot_be_written(lab: Lab) -> None:
    for node in NODES:
        for id in lab.machine(node).sh("docker ps -q --filter label=com.docker.swarm.service.name").split():
            found = json.loads(lab.machine(node).sh(f"docker inspect {id}"))[0]["HostConfig"]
            assert found["ReadonlyRootfs"] and found["CapDrop"] == ["ALL"] and not found["Privileged"], found
            powers = (
                lab.machine(node)
                .sh(f"docker exec {id} sh -c 'grep -hs CapEff /proc/[0-9]*/status || true'")
                .split()[1::2]
            )
            assert all(int(power, 16) & (1 << 21) == 0 for power in powers), "CAP_SYS_ADMIN"


def test_no_key_of_consul_is_on_a_disk_but_roots(lab: Lab) -> None:
    """Before, its entrypoint copied them into the container's layer."""
    for node in NODES:
        kept = lab.machine(node).sh("grep -rlE 'BEGIN [A-Z ]*PRIVATE KEY' /var/lib/docker/overlay2 2>/dev/null || true")
        assert not [line for line in kept.splitlines() if "/diff/run/" in line or "/diff/consul" in line], kept


def test_no_management_token_is_in_a_servers_settings(lab: Lab) -> None:
    token = lab.secret("consul-management-token")
    for node in NODES:
        machine = lab.machine(node)
        for id in machine.sh("docker ps -q --filter label=com.docker.swarm.service.name=consul_server").split():
            held = machine.sh(
                f"docker exec {id} sh -c 'cat /run/consul/* /run/secrets/* /etc/swarmbook/consul/* 2>/dev/null; true'"
            )
            assert '"encrypt"' in held and token not in held


# -- hosts and images are not believed ---------------------------------------------------------------------------------


def test_a_worker_that_lies_about_its_id_runs_nothing_on_the_manager(lab: Lab) -> None:
    machine = lab.machine("a3")
    machine.sh(
        "mv /usr/bin/docker /usr/bin/docker.true && cat > /usr/bin/docker <<'END'\n"
        "#!/bin/sh\n"
        r"""case "$*" in *info*) /usr/bin/docker.true "$@" | sed 's#[a-z0-9]\{25\}#&; touch /root/owned#' ;; """
        '*) exec /usr/bin/docker.true "$@" ;; esac\nEND\nchmod 755 /usr/bin/docker'
    )
    try:
        done = lab.book("run", "--only", "03")
        assert done.code == 3 and "the answer of a3 is not what it should be" in done.said, done
        unharmed(lab)
    finally:
        machine.sh("mv /usr/bin/docker.true /usr/bin/docker")


def test_an_image_that_lies_in_its_labels_runs_nothing_on_its_node(lab: Lab) -> None:
    machine = lab.machine("a2")
    image = machine.sh("docker images --format '{{.Repository}}:{{.Tag}}' swarmbook/consul | head -n 1")
    label = f"x z;touch${{IFS}}{OWNED};:a:b:c"
    said = r"printf '\033]52;c;b3duZWQ=\007\033]0;owned\007\033[31mERROR: red\n'; sleep 600"
    machine.sh(
        f"docker run -d --name liar --label com.docker.swarm.service.name={shlex.quote(label)} "
        f"--label com.docker.stack.namespace={shlex.quote(label)} --entrypoint sh {image} -c {shlex.quote(said)}"
    )
    try:
        done = lab.book("logs", "--out", str(lab.home / "logs-of-attack"))
        assert done.code in (0, 3), done
        unharmed(lab)
        everything = done.said + "".join(
            file.read_text(errors="replace") for file in (lab.home / "logs-of-attack").rglob("*") if file.is_file()
        )
        assert "\x1b]" not in everything and "\x07" not in everything
    finally:
        machine.sh("docker rm -f liar")


# -- a run that was killed in the middle -------------------------------------------------------------------------------


def test_a_first_token_that_was_lost_is_no_end(lab: Lab) -> None:
    """Consul hands its first token out once: a run that was killed with it in hand has lost it, and ours is not there yet."""
    everything = {"Policies": [{"Name": "global-management"}], "Description": "Bootstrap Token (Global Management)"}
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(lab.ca("consul"))
        session.mount("https://", NamedAdapter(NamedContext.of("a1", lab.ca("consul").read_bytes())))
        api = f"https://{lab.end('a1', 8501)}/v1/acl"
        ours = {"X-Consul-Token": lab.secret("consul-management-token")}
        accessor = session.get(f"{api}/token/self", headers=ours, timeout=60).json()["AccessorID"]
        lost = session.put(f"{api}/token", headers=ours, json=everything, timeout=60).json()
        assert session.delete(f"{api}/token/{accessor}", headers={"X-Consul-Token": lost["SecretID"]}, timeout=60).ok
        assert session.get(f"{api}/token/self", headers=ours, timeout=60).status_code == 403
        lab.book("run", "--only", "04").expect(0)
        assert session.get(f"{api}/token/self", headers=ours, timeout=60).ok
        left = session.get(f"{api}/tokens", headers=ours, timeout=60).json()
        assert not [entry for entry in left if entry["Description"].startswith("Bootstrap Token")], (
            "who holds it is root"
        )
    lab.book("verify", "--quiet").expect(0)


# -- what was stolen is worth nothing after a rotation -----------------------------------------------------------------


def serving(lab: Lab, password: str) -> list[str]:
    """The members that let a client in just now; it trusts what the operator was given, and nothing else.

    All are asked at once: one that is away may take seconds not to answer, and the next one may be away by then.
    """
    context = ssl.create_default_context(cafile=str(lab.ca("database")))

    def serves(node: str) -> bool:
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection = pymysql.connect(
                host=address_of(lab, node), port=SQL, user="app", password=password, database="app",
                ssl=context, connect_timeout=5, read_timeout=5,
            )  # fmt: skip
            with contextlib.closing(connection), connection.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM kept")
                return cursor.fetchone() == (1,)
        return False

    with concurrent.futures.ThreadPoolExecutor(len(NODES)) as pool:
        return [node for node, found in zip(NODES, pool.map(serves, NODES), strict=True) if found]


@contextlib.contextmanager
def consul_of(lab: Lab, token: str) -> Iterator[Callable[[str], requests.Response]]:
    """Asks the agent of the first node, with a token."""
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(lab.ca("consul"))
        session.mount("https://", NamedAdapter(NamedContext.of("a1", lab.ca("consul").read_bytes())))
        session.headers["X-Consul-Token"] = token
        yield lambda path: session.get(f"https://{lab.end('a1', 8501)}/v1/{path}", timeout=60)


SECRETS = (
    "consul-management-token",
    "consul-dns-token",
    "consul-agent-a2-token",
    "consul-gossip-key",
    "galera-consul-token",
    "galera-password",
)
_SWARM = "for role in worker manager; do docker swarm join-token -q $role; done; docker swarm ca | sha256sum"


@pytest.mark.long
def test_what_is_replaced_opens_nothing_and_meanwhile_no_one_is_turned_away(
    lab: Lab, stolen: dict[str, Leaf], tmp_path: Path
) -> None:
    lab.machine("a1").sh(
        f"docker exec {member(lab, 'a1')} mariadb app -e 'CREATE TABLE kept (id INT PRIMARY KEY); INSERT INTO kept VALUES (1)'"
    )
    old = {name: lab.secret(name) for name in SECRETS}
    swarm = lab.machine("a1").sh(_SWARM).split()
    assert serving(lab, old["galera-password"]) == NODES
    seen: list[list[str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append(serving(lab, old["galera-password"]))
            time.sleep(0.2)

    # Another computer with a copy of the folder, while this one restarts agents.
    copy, turned_away = tmp_path / "copy", list[Done]()
    shutil.copytree(lab.home, copy, ignore=shutil.ignore_patterns("runs"))

    def intrude() -> None:
        note = f"cat /run/swarmbook-{lab.name}.lease.holder"
        until(lambda: "04: Consul" in lab.machine("a1").try_sh(note)[1], why="the nodes are not held")
        turned_away.append(lab.book("rotate", "join-tokens", env={"SWARMBOOK_HOME": str(copy)}))

    watcher, intruder = threading.Thread(target=watch), threading.Thread(target=intrude)
    watcher.start()
    intruder.start()
    try:
        lab.book(
            "rotate", *["consul", "replication", "swarm", "gossip-key", "consul-tokens", "password", "join-tokens"]
        ).expect(0, "then: swarmbook rotate PARAMS password")
    finally:
        over.set()
        watcher.join()
        intruder.join()
    turned_away[0].expect(3, "is being worked on from another computer", "04: Consul, since 20")
    assert len(seen) > 20
    without = [at for at, found in enumerate(seen) if not found]
    assert not without, f"no member let anyone in, at rounds {without} of {len(seen)}"
    new = {name: lab.secret(name) for name in SECRETS}
    assert not set(old.values()) & set(new.values())
    assert not set(swarm) & set(lab.machine("a1").sh(_SWARM).split()) - {"-"}, "tokens to join, and the swarm's own CA"
    # MariaDB's own client tries both ways; PyMySQL tries the first alone.
    assert serving(lab, old["galera-password"]) == NODES, "the overlap"
    client = "mariadb --protocol=tcp -h 127.0.0.1 -u app --ssl --disable-ssl-verify-server-cert -N -e 'SELECT 1'"
    for password, lets_in in ((old["galera-password"], True), (new["galera-password"], True), ("another", False)):
        code, said = lab.machine("a1").try_sh(f"docker exec -e MYSQL_PWD={password} {member(lab, 'a1')} {client}")
        assert (code == 0) is lets_in, said
    for name in SECRETS[:3]:
        with consul_of(lab, old[name]) as ask:
            # An agent remembers for half a minute what a token may.
            until(lambda ask=ask: ask("acl/token/self").status_code == 403, why=name)
    with consul_of(lab, new["consul-management-token"]) as ask:
        assert {key for ring in ask("operator/keyring").json() for key in ring["Keys"]} == {new["consul-gossip-key"]}
        described = [entry["Description"] for entry in ask("acl/tokens").json()]
        assert len({text.split()[1] for text in described if text.startswith("swarmbook ")}) == len(
            [text for text in described if text.startswith("swarmbook ")]
        )
    address = address_of(lab, "a1")
    with chain(tmp_path, stolen["consul"]) as file:
        assert not let_in(address, 8300, file, before=b"\x03")
    assert not replicates(lab, "a2", stolen["replication"])
    with chain(tmp_path, leaf_of(lab, Purpose.CONSUL, "a2")) as file:
        assert let_in(address, 8300, file, before=b"\x03")
    assert replicates(lab, "a2", leaf_of(lab, Purpose.REPLICATION, "galera-a2"))
    lab.book("rotate", "password").expect(0)
    assert serving(lab, old["galera-password"]) == [] and serving(lab, new["galera-password"]) == NODES
    lab.book("run").expect(0)
    assert sum(chapter["changes"] for chapter in lab.summary()["chapters"]) == 0


# -- who is no node gets in nowhere ------------------------------------------------------------------------------------

#: Of every node; the engine's API, the swarm, its gossip, Consul and its API, DNS, the database.
TCP = [2376, 2377, 7946, 8300, 8301, 8302, 8501, 53, SQL]
WALLED = {"firewall": "always", "mariadb_clients": []}


def wall_of(lab: Lab, node: str) -> str:
    """What of a wall is on a node."""
    return lab.machine(node).sh(
        "nft list tables | grep swarmbook; ls -d /etc/swarmbook-wall /etc/systemd/system/swarmbook-wall* 2>/dev/null; true"
    )


def test_a_stranger_learns_names_from_consul_and_nothing_else(lab: Lab) -> None:
    """Consul 1.8 has no token for DNS alone: without one, anyone who asks gets what DNS needs."""
    lab.need()
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(lab.ca("consul"))
        session.mount("https://", NamedAdapter(NamedContext.of("a1", lab.ca("consul").read_bytes())))
        api = f"https://{lab.end('a1', 8501)}/v1"
        for path in (
            "agent/self",
            "agent/metrics",
            "kv/swarmbook",
            "acl/tokens",
            "acl/policies",
            "operator/raft/configuration",
            "snapshot",
        ):
            assert session.get(f"{api}/{path}", timeout=60).status_code == 403, path
        for path in ("session/list", "query", "event/list"):
            assert session.get(f"{api}/{path}", timeout=60).json() == [], path
        for path, body in (
            ("kv/swarmbook", "x"), ("agent/service/register", {"Name": "x"}), ("session/create", {}), ("event/fire/x", {}),
            ("catalog/register", {"Node": "x", "Address": "192.0.2.1"}),
        ):  # fmt: skip
            assert session.put(f"{api}/{path}", json=body, timeout=60).status_code == 403, path


def test_who_is_no_node_gets_in_nowhere(lab: Lab) -> None:
    addresses = {node: address_of(lab, node) for node in NODES}
    target = lab.machine("a2"), member(lab, "a2"), addresses["a2"]
    # So that what follows can tell: without walls it gets in, frames and all.
    assert len(gets_into(lab, addresses.values(), TCP)) == len(NODES) * len(TCP)
    assert smuggled(lab, *target) > 0
    assert is_answered(lab, addresses["a2"])

    lab.book("run", "--only", "03", **WALLED).expect(0, "Put up the walls", "3 changes")
    assert gets_into(lab, addresses.values(), TCP) == []
    assert smuggled(lab, *target) == 0
    assert not is_answered(lab, addresses["a2"]), "an open resolver"
    assert len(gets_into(lab, addresses.values(), [22])) == len(NODES), "the walls have nothing to do with SSH"
    lab.book("verify", "--quiet", **WALLED).expect(0)


def test_a_wall_that_was_torn_down_is_put_back(lab: Lab) -> None:
    lab.machine("a3").sh("nft flush chain inet swarmbook entrance")
    lab.book("verify", **WALLED).refused(1, "CheckFailed", "a3: wall", "changed by hand")
    assert gets_into(lab, [address_of(lab, "a3")], [2377])
    lab.book("run", "--only", "03", **WALLED).expect(0)
    assert not gets_into(lab, [address_of(lab, "a3")], [2377])
    # Debian's own service flushes every table when it is restarted.
    lab.machine("a3").sh("systemctl restart nftables")
    until(
        lambda: "swarmbook" in lab.machine("a3").sh("nft list tables"),
        why=lambda: "no wall after nftables was restarted",
    )
    lab.machine("a3").sh("systemctl stop nftables")


def test_a_wall_that_shuts_out_ssh_falls_by_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same hands as any other wall, with one rule too many: the run fails, and the node opens without anyone's help."""
    monkeypatch.setattr(work, "FALLS_AFTER_S", 15)
    monkeypatch.setattr(hosts, "_CONNECT_S", 3)
    params = Params(**{**lab.params, **WALLED, "nodes": NODES})
    book = Book("03", params, cluster=Cluster(lab.name, lab.home))
    shut: dict[str, list[str]] = {}

    class Wrong(Build):
        def want(self, book: Book, seen: Mapping[str, Wall]) -> Wanted:
            right = super().want(book, seen)
            rules = right.rules["a3"].replace("accept;\n", "accept;\n    tcp dport { 22 } drop\n", 1)
            return replace(right, rules={**right.rules, "a3": rules})

        def verify(self, wanted: Wanted, seen: Mapping[str, Wall]) -> list[Check]:
            raise AssertionError("it was confirmed")

    def put_up_and_knock(host: Host, rules: str) -> None:
        work.put_up(host, rules)
        shut[host.name] = gets_into(lab, [address_of(lab, host.name)], [22])

    monkeypatch.setattr(step, "put_up", put_up_and_knock)
    with contextlib.closing(book), raises(Code.WALL_TAKEN_BACK, "a3", "swarmbook explain wall-taken-back"):
        Wrong()(book)
    assert shut == {"a3": []}, "it shut SSH"
    until(lambda: bool(gets_into(lab, [address_of(lab, "a3")], [22])), why=lambda: "a3 is still shut")
    # What was confirmed before stands again, and SSH with it.
    lab.book("plan", "--only", "03", **WALLED).expect(0, "nothing to change")
    assert not gets_into(lab, [address_of(lab, "a3")], [2377])


def test_walls_go_when_no_one_wants_them(lab: Lab) -> None:
    lab.book("run", "--only", "03").expect(0)
    for node in NODES:
        assert wall_of(lab, node) == ""
    assert gets_into(lab, [address_of(lab, "a1")], [2377])


# -- nothing is deleted unasked ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(
        ["d1"],
        swarm_managers=1,
        lab_disk_gb=3,
        mariadb_port=0,
        mariadb_data_path="/srv/db",
        firewall="always",
        swarm_autolock=True,
    )


def test_what_belongs_to_the_owner_is_left_alone(alone: Lab) -> None:
    """A disk of theirs where ours belongs, its line in fstab, and a swarm of theirs: each refused before anything is changed."""
    alone.book("run", "--to", "01").expect(0)
    machine = alone.machine("d1")
    machine.sh(
        "mkdir -p /var/lib/docker && mount -t tmpfs tmpfs /var/lib/docker && echo mine > /var/lib/docker/mine\n"
        "cp /etc/fstab /root/fstab && echo 'tmpfs /var/lib/docker tmpfs rw 0 0' >> /etc/fstab"
    )
    theirs = "sha256sum /etc/fstab /var/lib/docker/mine; findmnt -n /var/lib/docker"
    before = machine.sh(theirs)
    alone.book("run", "--only", "02").refused(
        3, "fstab of d1 mounts something else", "swarmbook explain mount-point-taken"
    )
    assert machine.sh(theirs) == before
    machine.sh("cp /root/fstab /etc/fstab")
    before = machine.sh(theirs)
    alone.book("run", "--only", "02").refused(3, "something else is mounted", "tmpfs", "storage_layout: existing")
    assert machine.sh(theirs) == before
    machine.sh("umount /var/lib/docker && systemctl start docker && docker swarm init >/dev/null")
    theirs = "docker info --format '{{.Swarm.NodeID}}'; ls -A /etc/docker"
    before = machine.sh(theirs)
    alone.book("run", "--only", "03").refused(
        3, "in a swarm that the book has not formed", "swarmbook explain engine-in-a-swarm"
    )
    assert machine.sh(theirs) == before
    machine.sh("docker swarm leave --force && systemctl stop docker docker.socket && rm -rf /var/lib/docker/*")


def test_destroy_takes_what_carries_our_mark_and_nothing_beside_it(alone: Lab) -> None:
    alone.book("run", "--to", "01").expect(0)
    machine = alone.machine("d1")
    machine.sh("mkdir -p /srv/db && echo mine > /srv/db/mine && mkdir -p /srv/other && echo other > /srv/other/file")
    alone.book("run").expect(0)
    assert "table inet swarmbook" in wall_of(alone, "d1")
    machine.sh(
        "docker volume create blog && echo text > /var/lib/docker/volumes/blog/_data/post\n"
        "mkdir -p /root/disk /var/lib/docker/kept && echo far > /root/disk/far && mount --bind /root/disk /var/lib/docker/kept"
    )
    # A thief of a manager's disk has neither the swarm's secrets nor its CA.
    machine.sh("systemctl restart docker.service")
    assert "docker swarm unlock" in machine.try_sh("docker secret ls")[1]
    assert "BEGIN ENCRYPTED PRIVATE KEY" in machine.sh("cat /var/lib/docker/swarm/certificates/swarm-node.key")
    locked = alone.book("verify")
    assert locked.code != 0 and "swarmbook run PARAMS --from 03" in locked.said, locked
    alone.book("plan", "--only", "03").expect(0, "manager unlocked")
    kept = alone.home / "clusters" / alone.name / "secrets" / "swarm-unlock-key"
    away = kept.rename(alone.home / "away")
    alone.book("run", "--only", "03").refused(3, "d1 is locked", "swarmbook explain swarm-locked")
    away.rename(kept)
    alone.book("run", "--only", "03").expect(0)
    key = kept.read_text()
    alone.book("rotate", "unlock-key").expect(0)
    new = kept.read_text()
    assert new != key
    kept.write_text(key)  # as after a rotation that was killed: it is found while a manager can still say the right one
    alone.book("run", "--only", "03").expect(0)
    assert kept.read_text() == new
    # With the key of before the manager opens until it has taken the new one over; so the new one alone is tried.
    kept.with_name(f"{kept.name}.earlier").unlink()
    machine.sh("systemctl restart docker.service")
    alone.book("run", "--only", "03").expect(0)
    machine.sh("docker secret ls")

    theirs = "sha256sum /srv/db/mine /srv/other/file /var/lib/docker/volumes/blog/_data/post /root/disk/far"
    before = machine.sh(theirs)

    alone.book("destroy", "--yes").expect(0)
    assert machine.sh(theirs) == before
    assert machine.try_sh("ls /srv/db/galera")[0] != 0, "the members' own folder is gone"
    assert machine.try_sh("ls /etc/swarmbook")[0] != 0
    assert wall_of(alone, "d1") == ""
    machine.sh(
        "umount /var/lib/docker/kept && systemctl start docker && docker volume rm blog && systemctl stop docker docker.socket"
    )


def test_an_engine_is_not_emptied_across_a_mount(alone: Lab) -> None:
    machine = alone.machine("d1")
    machine.sh("rm -rf /var/lib/docker/* /var/lib/containerd/*")
    alone.book("run", "--to", "03").expect(0)
    machine.sh("mkdir -p /var/lib/docker/kept && mount --bind /root/disk /var/lib/docker/kept")
    refused = alone.book("destroy", "--yes")
    assert refused.code == 3 and "mounted below the engine's folders" in refused.said, refused
    assert machine.sh("cat /root/disk/far") == "far"
    machine.sh("umount /var/lib/docker/kept")
    alone.book("destroy", "--yes").expect(0)
    assert machine.sh("cat /root/disk/far") == "far" and machine.sh("ls -A /var/lib/docker") == ""
