"""A host that lies in every answer gets nothing executed anywhere: what it says is refused, or arrives as data.

The probes are found by introspection, so that a new one is lied to as well.
"""

from __future__ import annotations

import ast
import base64
import dataclasses
import getpass
import importlib
import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access import hosts
from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.probe import MOST_ANSWER, Probe, Refused
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.plain import plain
from swarmbook.diagnosis.logs import _sections
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params
from swarmbook.phases.provision.links import Try
from swarmbook.phases.support.ports import Port
from swarmbook.phases.support.systems import FAMILIES
from swarmbook.testing.errors import raises

from .sshd import SSHD, Server
from .test_answers import ANSWERS, probe_of

ROOT = Path(__file__).resolve().parents[2]
NODES = [
    Node(f"sw{n}", f"id{n}", f"10.0.0.{n}", f"10.0.0.{n}", Endpoint(f"10.0.0.{n}", 22), f"ssh-ed25519 K{n}")
    for n in (1, 2)
]
PORTS = [Port("tcp", 2377, "swarm"), Port("udp", 4789, "VXLAN")]

#: What the functions that build a probe are given. A new one that is not among them fails the first test.
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    "swarmbook.diagnosis.status:row_of": [("sw1",)],
    "swarmbook.phases.consul.probe:on_node": [()],
    "swarmbook.phases.destroy.remains:remains_on": [("lab", ""), ("lab", "/srv/mariadb/galera", ("consul", "galera"))],
    "swarmbook.phases.destroy.step:_tasks": [(), ("--all",)],
    "swarmbook.phases.endpoint.agents:agents_of": [(Params(), "sw1")],
    "swarmbook.phases.endpoint.prove:names_of": [(Params(),)],
    "swarmbook.phases.endpoint.step:_containers": [(Params(),), (Params(endpoint_writer_port=3307),)],
    "swarmbook.phases.galera.tables:tables_of": [("galera_sw1",)],
    "swarmbook.phases.galera.logins:logins_of": [("galera_sw1", ("swarmbook", "app"), "/CN=galera.")],
    "swarmbook.phases.galera.members:found_on": [(Params(), "sw1"), (Params(mariadb_port=3306), "sw1")],
    "swarmbook.phases.galera.states:_shifts": [("galera_sw1", 60.0)],
    "swarmbook.phases.galera.step:_there": [("backend",)],
    "swarmbook.phases.support.sql:place_of": [("galera_sw1",)],
    "swarmbook.phases.galera.ease:_flow": [("galera_sw1",)],
    "swarmbook.phases.support.members:running_of": [("galera_sw1",)],
    "swarmbook.phases.recovery.standing:standing_on": [(Params(), "sw1")],
    "swarmbook.phases.backup.trial:tables_read": [("swarmbook-trial", ["--user=mysql"])],
    "swarmbook.phases.backup.trial:at": [("a" * 12, "/x")],
    "swarmbook.phases.backup.logs:written": [("a" * 12,)],
    "swarmbook.phases.backup.logs:closed": [("a" * 12, 41234)],
    "swarmbook.phases.restore.replay:recovered": [("swarmbook-restore", "/x/restore.new", "galera:1")],
    "swarmbook.phases.support.throwaway:starts": [("swarmbook-trial",)],
    "swarmbook.phases.rolling.gate:_short": [("lab",)],
    "swarmbook.phases.restore.place:place_on": [(Params(), "sw1")],
    "swarmbook.phases.support.source:followed_by": [("galera_sw1",)],
    "swarmbook.phases.standby.member:member_on": [(Params(), "sw1")],
    "swarmbook.phases.scale.extent:_stacks": [("sw1", "galera")],
    "swarmbook.phases.overlay.step:links": [("10.0.0.1",)],
    "swarmbook.phases.overlay.step:network_named": [("backend",)],
    "swarmbook.phases.post_provision.disk_probe:second_disk": [("",), ("/dev/sdb",), ("", "docker-ce")],
    "swarmbook.phases.post_provision.software:packages_on": [(Params(packages=["tmux"]),), (Params(system_update=True),)],
    "swarmbook.phases.post_provision.software:_versions": [(FAMILIES["debian"], ("tmux",)), (FAMILIES["rhel"], ("tmux",))],
    "swarmbook.phases.provision.links:_listen": [("10.0.0.1", PORTS)],
    "swarmbook.phases.provision.links:_try": [("sw1", [Try("sw2", "tcp", 2377), Try("sw2", "udp", 4789), Try("sw2", "full")], {"sw2": "10.0.0.2"}, 1500)],
    "swarmbook.phases.provision.links:_arrived": [("/run/swarmbook-preflight-abc123",)],
    "swarmbook.phases.provision.links:_clear": [("/run/swarmbook-preflight-abc123",)],
    "swarmbook.phases.provision.preflight_probe:about_node": [(["sw2"],)],
    "swarmbook.phases.watch.admit:login_of": [("galera_sw1",)],
    "swarmbook.phases.watch.prove:listeners": [()],
    "swarmbook.phases.watch.step:on_node": [(Params(),)],
    "swarmbook.phases.walls.work:unanswered_from": [([NODES[1]], PORTS)],
    "swarmbook.phases.support.added:added_on": [(), ("/dev/disk/by-id/second",)],
    "swarmbook.phases.support.added:what_stays": [("debian", ["docker.io", "lvm2"]), ("rhel", ["lvm2"])],
    "swarmbook.phases.support.probes:_start": [("swarmbook-probe-1", ["a=1"], "backend", "swarmbook/consul:1", 600)],
}  # fmt: skip


def _places() -> Iterator[tuple[str, str, int]]:
    """Where the library builds a probe: module, what holds it (a constant or a function), line."""
    for file in sorted((ROOT / "swarmbook").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for top in ast.parse(file.read_text(encoding="utf-8")).body:
            for node in ast.walk(top):
                if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Probe"):
                    continue
                if isinstance(top, ast.FunctionDef):
                    yield module, top.name, node.lineno
                elif isinstance(top, (ast.Assign, ast.AnnAssign)):
                    target = top.target if isinstance(top, ast.AnnAssign) else top.targets[0]
                    yield module, ast.unparse(target), node.lineno
                else:
                    yield module, "", node.lineno


def _probes() -> Iterator[tuple[str, Probe[Any]]]:
    for module, name, _ in _places():
        found = getattr(importlib.import_module(module), name) if name else None
        if isinstance(found, Probe):
            yield f"{module}:{name}", found
        for at, arguments in enumerate(ARGUMENTS.get(f"{module}:{name}", ())):
            assert callable(found)
            yield f"{module}:{name}-{at}", found(*arguments)


PROBES = dict(_probes())
#: It only ends what another one began, and reads nothing.
SILENT = "swarmbook.phases.provision.links:_clear"


def test_every_probe_is_lied_to() -> None:
    missed = [
        f"{module}:{name}, line {line}: give it arguments in ARGUMENTS, or build it in a function of its module"
        for module, name, line in _places()
        if not any(id.split("-")[0] == f"{module}:{name}" for id in PROBES)
    ]
    assert not missed, "\n".join(missed)
    stale = ARGUMENTS.keys() - {f"{module}:{name}" for module, name, _ in _places()}
    assert not stale, f"no probe is built there: {stale}"


#: ``MARKER`` becomes the path of a file that must not appear.
PAYLOADS = [
    "; touch MARKER", "$(touch MARKER)", "`touch MARKER`", "| touch MARKER", "&& touch MARKER", "'; touch MARKER; '", '"; touch MARKER; "', "x\ntouch MARKER", "x\r\ntouch MARKER",
    "-oProxyCommand=touch MARKER", "--format={{.}}", "x z;touch${IFS}MARKER", "aaaaaaaaaaaaaaaaaaaaaaaaa\n; touch MARKER", "sw1; touch MARKER", "10.0.0.1; touch MARKER", "fe80::1%; touch MARKER",
    "/dev/../etc/passwd", "/dev/$(touch MARKER)", "UUID=x\n/dev/evil / ext4", "../../etc", "*", "~root",
    "\x1b]52;c;aWQ=\x07", "\x1b[2J\x1b[H", "\x9b2J", "ok\rlie", "\u202eexe.txt", "\x00", "\ud800", "\x07" * 1000,
    "nan", "inf", "-1", "1e999", "9" * 5000, "99999999999999999999", "{}", "[]", "null", "true", '"x"', "[" * 20000, '{"a":' * 5000, "{{.ID}}", "%s%n", "x" * 100_000, "", " ",
]  # fmt: skip


def texts(value: Any) -> Iterator[str]:
    """Every text in what a probe gives."""
    if isinstance(value, Enum):
        return
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from texts(item)
    else:
        assert value is None or isinstance(value, (bool, int, float)), type(value)
        assert value is None or (math.isfinite(value) and abs(value) < 1 << 63), value


def lied(probe: Probe[Any], output: str) -> list[str] | None:
    """What arrives of an answer, as :class:`Host` hands it on; None when it is refused."""
    try:
        found = list(texts(probe.answer(plain(output), "sw1")))
    except Refused as error:
        assert plain(str(error)) == str(error) and len(str(error)) < 2000
        return None
    for text in found:
        assert plain(text) == text and len(text) <= MOST_ANSWER
    return found


def stays_one_word(arrived: list[str], marker: Path) -> None:
    """Another host's shell is given all of it, as the phases do it: by way of ``sh``."""
    words = sorted({text for text in arrived if len(text) < 4096})[:500]
    script = sh('set -- @{words}; printf "%s" "$#"; : "$@"', words=words)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=marker.parent)
    assert (done.stdout, done.stderr) == (str(len(words)), "")
    assert not marker.exists()


def facts_of(probe: Probe[Any]) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\| as (\w+)", probe.script)))


def answer(facts: Mapping[str, str]) -> str:
    return "".join(f"{name}\n" + "".join(f" {line}\n" for line in text.split("\n")) for name, text in facts.items())


@pytest.mark.parametrize("id", PROBES)
def test_a_lie_in_every_fact(id: str, tmp_path: Path) -> None:
    probe, marker, arrived = PROBES[id], tmp_path / "MARKER", list[str]()
    names = facts_of(probe)
    assert names or id.startswith(SILENT), "no fact"
    for payload in PAYLOADS:
        payload = payload.replace("MARKER", str(marker))
        arrived += lied(probe, payload) or []
        for encoded in (payload, base64.b64encode(payload.encode("utf-8", "surrogatepass")).decode()):
            arrived += lied(probe, answer(dict.fromkeys(names, encoded))) or []
            for name in names:
                arrived += lied(probe, answer({**dict.fromkeys(names, ""), name: encoded})) or []
    stays_one_word(arrived, marker)


def _good() -> Iterator[tuple[str, Probe[Any], str]]:
    for file in sorted(ANSWERS.rglob("*.yaml")):
        case = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not case.get("refused"):
            yield f"{file.parent.name}-{file.stem}", probe_of(case), case["answer"]


GOOD = {id: (probe, good) for id, probe, good in _good()}


def put_into(line: str, payload: str) -> Iterator[str]:
    """A line with a payload in place of each of its words, or of each text in its JSON."""
    try:
        data = json.loads(line)
    except ValueError:
        data = None
    if isinstance(data, (dict, list)):
        for at in range(json.dumps(data).count('"') // 2):
            yield json.dumps(_replaced(data, [at], payload))
        return
    words = line.split(" ")
    for at in range(len(words)):
        yield " ".join([*words[:at], payload, *words[at + 1 :]])


def _replaced(data: Any, left: list[int], payload: str) -> Any:
    if isinstance(data, str):
        left[0] -= 1
        return payload if left[0] == -1 else data
    if isinstance(data, dict):
        return {key: _replaced(value, left, payload) for key, value in data.items()}
    if isinstance(data, list):
        return [_replaced(value, left, payload) for value in data]
    return data


SHORT = [payload for payload in PAYLOADS if len(payload) < 60]


@pytest.mark.parametrize("id", GOOD)
def test_one_lie_in_an_answer_that_is_true(id: str, tmp_path: Path) -> None:
    probe, good = GOOD[id]
    marker, arrived = tmp_path / "MARKER", list[str]()
    assert lied(probe, good) is not None
    lines = good.split("\n")
    for at, line in enumerate(lines):
        if not line.startswith(" ") or len(line) > 2000:
            continue
        for payload in SHORT[at % 4 :: 4]:  # a quarter of them at each line: all of them at each answer
            for changed in put_into(line[1:], payload.replace("MARKER", str(marker))):
                arrived += lied(probe, "\n".join([*lines[:at], f" {changed}", *lines[at + 1 :]])) or []
                if len(arrived) > 20_000:
                    stays_one_word(arrived, marker)
                    arrived.clear()
    stays_one_word(arrived, marker)


@pytest.mark.parametrize("id", PROBES)
@given(st.data())
def test_any_answer(id: str, data: st.DataObject) -> None:
    probe = PROBES[id]
    text = st.text(max_size=30)
    facts = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(facts_of(probe), text)))
    lied(probe, answer(facts))


# -- over SSH ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An sshd that runs nothing that it is asked to: it prints what is in a file instead, or runs that."""
    if SSHD is None:
        pytest.skip("no sshd on this computer (apt-get install openssh-server)")
    folder = tmp_path_factory.mktemp("liar")
    (folder / "lie").write_text("#!/bin/sh\n")
    (folder / "lie").chmod(0o755)
    server = Server(folder, ForceCommand=folder / "lie")
    yield server
    server.stop()


@pytest.fixture
def host(liar: Server, node: Callable[..., Node]) -> Iterator[Host]:
    cluster = Cluster("lab")
    generate_key(cluster.key_file, "test")
    liar.authorized.write_text(cluster.key_file.with_suffix(".pub").read_text())
    at = node("sw1", ssh=Endpoint("127.0.0.1", liar.port), host_key=liar.key, user=getpass.getuser())
    cluster.save_nodes([at], "test")
    host = Host(at, cluster, Transcript())
    yield host
    host.close()


def lie(server: Server, script: str) -> None:
    """It knows the marks of what it is asked to run, and puts them before its lie."""
    mark = "$(printf %s \"$SSH_ORIGINAL_COMMAND\" | grep -o 'swarmbook-[0-9a-f]*-root')"
    (server.folder / "lie").write_text(f'#!/bin/sh\nmark={mark}\necho "$mark"; echo "$mark" >&2\n{script}\n')


def test_a_host_that_lies_in_every_answer(host: Host, liar: Server, tmp_path: Path) -> None:
    marker, arrived = tmp_path / "MARKER", list[str]()
    said = liar.folder / "said"
    lie(liar, f"cat {said}")
    said.write_bytes(answer({"said": "\n".join(PAYLOADS)}).encode("utf-8", "surrogatepass"))
    arrived += host.ask(Probe(sh("true | as said"), lambda facts: facts["said"]))
    for probe in PROBES.values():
        payloads = [payload.replace("MARKER", str(marker)) for payload in PAYLOADS[::7]]
        said.write_bytes(
            answer({name: "\n".join(payloads) for name in facts_of(probe)}).encode("utf-8", "surrogatepass")
        )
        try:
            arrived += texts(host.ask(probe))
        except Refused:
            continue
    assert all(plain(text) == text for text in arrived)
    stays_one_word(arrived, marker)


def test_a_host_that_answers_with_a_hundred_megabytes(host: Host, liar: Server) -> None:
    lie(liar, "echo engine; head -c 100000000 /dev/zero | tr '\\0' x")
    began = time.monotonic()
    for probe in list(PROBES.values())[:3]:
        with raises(Code.OUTPUT_TOO_LONG, "sw1"):
            host.ask(probe)
    with raises(Code.OUTPUT_TOO_LONG, "sw1"):
        host.run(sh("true"), check=False)
    assert time.monotonic() - began < 120


def test_a_host_that_never_ends(host: Host, liar: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop by drop: below every limit of bytes, and never silent."""
    monkeypatch.setattr(hosts, "GRACE_S", 0.2)
    lie(liar, "while :; do echo x; sleep 0.1; done")
    for ask in (
        lambda: host.ask(next(iter(PROBES.values())), timeout_s=0.5),
        lambda: host.run(sh("true"), timeout_s=0.5),
    ):
        with raises(Code.COMMAND_TIMED_OUT, "sw1"):
            ask()


def test_a_host_whose_logs_are_a_bomb() -> None:
    """A host knows the mark of the script that it runs: sections without end, and lines on which a pattern would work for hours."""
    mark = "@@0123456789abcdef"
    many = _sections("".join(f"{mark} engine: {n}\tx\ny\n" for n in range(5000)), mark)
    assert len(many) == 300
    (one,) = _sections(f"{mark} {'n' * 5000}\tcmd\tmore\n{' module=x' * 50_000}!\n\x1b]0;t\x07end\n", mark)
    assert len(one.name) == 200 and one.command == "cmd\n  more"
    assert one.text == "[a line of 450001 characters left out]\n\\x1b]0;t\\x07end"


def test_errors_carry_no_more_than_a_person_reads() -> None:
    for probe in PROBES.values():
        try:
            probe.answer("x" * (MOST_ANSWER + 1), "sw1")
        except SwarmbookError as error:
            assert len(str(error)) < 1000
        else:
            pytest.fail("taken")
