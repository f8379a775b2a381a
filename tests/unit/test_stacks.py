"""What the swarm is given: agents' files for old and new Consul, stack files that hold together, nothing secret in either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.node import Node
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.consul import config as consul_config
from swarmbook.phases.galera import stack as galera_stack
from swarmbook.phases.support import stack

MakeNode = Callable[..., Node]
NAMES = ["sw1", "sw2", "sw3", "sw4"]


def holds_together(document: dict[str, Any]) -> None:
    """What `docker stack deploy` would refuse: names that are used and not declared, or of the wrong kind."""
    again = yaml.safe_load(stack.file("lab", "x", document))
    assert again == document
    assert re.fullmatch(r"3\.\d+", document["version"])
    assert set(document) <= {"version", "services", "networks", "secrets", "configs", "volumes"}
    for service in document["services"].values():
        assert set(service["networks"]) <= set(document["networks"])
        assert {s["source"] for s in service["secrets"]} <= set(document["secrets"])
        assert {c["source"] for c in service.get("configs", [])} <= set(document.get("configs", {}))
        for volume in service["volumes"]:
            source = volume.split(":")[0] if isinstance(volume, str) else volume.get("source", "/")
            assert source.startswith("/") or source in document["volumes"], source
        assert all(isinstance(v, str) for v in service.get("environment", {}).values())
        assert all(isinstance(v, str) for v in service["deploy"]["labels"].values())
    for secret in document["secrets"].values():
        assert secret == {"external": True}


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("modern", [True, False])
def test_an_agent(node: MakeNode, role: str, modern: bool) -> None:
    params = Params(datacenter="ams3").view("04")
    config = consul_config.agent_config(
        params, node("sw2"), role, ["10.9.0.3", "10.9.0.1", "10.9.0.2"], ("192.0.2.53",), modern
    )
    assert config["server"] is (role == "server")
    assert config["retry_join"] == ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
    assert config.get("bootstrap_expect") == (3 if role == "server" else None)
    assert config["acl"]["default_policy"] == "deny"
    assert config["ports"]["http"] == -1, "no API in the clear"
    assert config["addresses"]["dns"] == "10.9.0.2", "DNS on the private address only"
    assert config["recursors"] == ["192.0.2.53"]
    assert config["leave_on_terminate"] is False
    flat = {"ca_file", "cert_file", "key_file", "verify_outgoing", "verify_incoming_rpc", "verify_server_hostname"}
    if modern:
        assert config["tls"]["internal_rpc"] == {"verify_incoming": True, "verify_server_hostname": True}
        assert config["tls"]["defaults"]["verify_outgoing"] is True
        assert not flat & set(config)
    else:
        assert flat <= set(config)
        assert config["verify_server_hostname"] is True
        assert "tls" not in config
        assert "grpc_tls" not in config["ports"]
    json.dumps(config)


def test_upstream_name_servers_of_the_parameters_win(node: MakeNode) -> None:
    params = Params(dns_primary="9.9.9.9", dns_secondary="1.1.1.1").view("04")
    assert consul_config.agent_config(params, node(), "client", [], ("192.0.2.53",), True)["recursors"] == [
        "9.9.9.9",
        "1.1.1.1",
    ]


def test_only_servers_carry_the_servers_name(node: MakeNode) -> None:
    assert "server.ams3.consul" in consul_config.certificate_names(node(), "server", "ams3")
    assert not any(name.startswith("server.") for name in consul_config.certificate_names(node(), "client", "ams3"))


def test_consul(open_book: Callable[..., Book]) -> None:
    book = open_book("04")
    seen = dict.fromkeys(NAMES, ("192.0.2.53",))
    made = consul_config.wanted(book, seen, ["sw1", "sw2", "sw3"], (1, 20), "swarmbook/consul:x")
    holds_together(dict(made.document))
    assert [c["server"] for c in made.configs.values()] == [True, True, True, False]
    hidden = [path.read_text().strip() for path in (book.cluster.folder / "secrets").iterdir()]
    assert len(hidden) >= 7
    for shown in (yaml.safe_dump(dict(made.document)), json.dumps(made.configs), repr(made)):
        assert not [value for value in hidden if value in shown]
    again = consul_config.wanted(book, seen, ["sw1", "sw2", "sw3"], (1, 20), "swarmbook/consul:x")
    assert (again.document, again.configs, again.private) == (made.document, made.configs, made.private)
    token = json.loads(made.private["sw4"]["tokens.json"])["acl"]["tokens"]
    assert set(token) == {"agent", "dns"}, "who asks without a token gets nothing"
    before = consul_config.wanted(book, seen, ["sw1", "sw2", "sw3"], (1, 8), "swarmbook/consul:x")
    old = json.loads(before.private["sw4"]["tokens.json"])["acl"]["tokens"]
    assert (set(old), old["default"]) == ({"agent", "default"}, token["dns"]), "it has no token for DNS alone"
    rules = made.tokens["dns"].rules
    assert rules.split() == [
        "node_prefix",
        '""',
        "{",
        "policy",
        "=",
        '"read"',
        "}",
        "service_prefix",
        '""',
        "{",
        "policy",
        "=",
        '"read"',
        "}",
    ]
    assert token["agent"] != json.loads(made.private["sw1"]["tokens.json"])["acl"]["tokens"]["agent"]
    management = book.cluster.secret("consul-management-token").reveal()
    kept = [
        *made.secrets.values(),
        *(content.decode() for files in made.private.values() for content in files.values()),
    ]
    assert not [content for content in kept if management in content], "it is given over the API, and stands nowhere"


def test_a_client_sees_no_more_than_its_own(open_book: Callable[..., Book]) -> None:
    rules = consul_config._agent_rules("sw4", "client")
    assert 'node "sw4" { policy = "write" }' in rules
    assert "prefix" not in rules.replace('service_prefix "" { policy = "read" }', "")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"mariadb_port": 3306},
        {"mariadb_data_path": "/srv/db"},
        {"mariadb_user": "", "mariadb_database": ""},
        {"galera_nodes": ["sw2", "sw4"]},
    ],
)
def test_galera(open_book: Callable[..., Book], other: dict[str, Any]) -> None:
    book = open_book("07", **other)
    made = galera_stack.parts(book)
    members = book.params.members()
    whole = galera_stack.document(made)
    holds_together(whole)
    assert list(whole["services"]) == members
    text = yaml.safe_dump(whole) + repr(made)
    hidden = [path.read_text().strip() for path in (book.cluster.folder / "secrets").iterdir()]
    assert len(hidden) >= 2
    assert not [value for value in hidden if value in text]
    assert "PRIVATE KEY" not in text
    for name, service in whole["services"].items():
        assert service["deploy"]["placement"]["constraints"] == [f"node.labels.name == {name}"]
        assert service["deploy"]["endpoint_mode"] == "dnsrr"
        assert int(service["stop_grace_period"].removesuffix("s")) >= 120
        assert ("ports" in service) == ("mariadb_port" in other)
        assert all(port["mode"] == "host" for port in service.get("ports", []))
        assert not [key for key in service["environment"] if re.search("PASS|TOKEN|SECRET|KEY", key)]
    assert galera_stack.parts(book) == made
    one = galera_stack.document(made, members[:1])
    holds_together(one)
    assert one["services"][members[0]] == whole["services"][members[0]], "a member does not change when others come"


def test_two_galera_clusters_share_nothing_but_the_network(open_book: Callable[..., Book]) -> None:
    documents = []
    for name in ("shop", "blog"):
        book = open_book("07", mariadb_cluster_name=name)
        documents.append(galera_stack.document(galera_stack.parts(book)))
    one, other = documents
    assert not set(one["secrets"]) & set(other["secrets"])
    assert not set(one["configs"]) & set(other["configs"]) or one["configs"] == other["configs"]
    assert one["volumes"]["data"]["name"] != other["volumes"]["data"]["name"]
    hosts = [{service["hostname"] for service in document["services"].values()} for document in documents]
    assert not hosts[0] & hosts[1]


def test_a_stamp_follows_what_is_said_and_not_how() -> None:
    one = stack.stamp("lab", {"image": "a", "deploy": {"mode": "global", "replicas": 1}})
    same = stack.stamp("lab", {"deploy": {"replicas": 1, "mode": "global"}, "image": "a"})
    assert one["deploy"]["labels"] == same["deploy"]["labels"]
    assert (
        stack.stamp("lab", {"image": "b"})["deploy"]["labels"] != stack.stamp("lab", {"image": "a"})["deploy"]["labels"]
    )
    assert one["deploy"]["mode"] == "global"


def test_a_secrets_name_follows_its_content_under_a_key_of_the_cluster(open_book: Callable[..., Book]) -> None:
    book = open_book("04")
    salt = stack.salt_of(book.cluster)
    name = stack.secret_name(salt, "db", "hunter2")
    assert re.fullmatch(r"db-[0-9a-f]{10}", name)
    assert stack.secret_name(salt, "db", b"hunter2") == name
    assert stack.secret_name(salt, "db", "hunter3") != name
    (book.cluster.folder / "secrets" / "secret-name-salt").unlink()
    salt = stack.salt_of(book.cluster)
    assert stack.secret_name(salt, "db", "hunter2") != name


#: What go-yaml takes for a number (its resolve.go), beyond what PyYAML quotes by itself.
_GO_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+|[-+]?\.(inf|nan)", re.IGNORECASE
)


@pytest.mark.parametrize(
    "text",
    ["8915993665174e15", "123e4", "1E3", "+5e7", ".5e3", "0o17", "0x1f", "1_0", "007", "-0", "12", "3.12", ".inf"],
)
def test_a_text_that_docker_s_client_would_read_as_a_number_is_quoted(text: str) -> None:
    """Seen in one build of a thousand: a label of digits and one `e` became a float, so that a second run changed a member."""
    assert _GO_NUMBER.fullmatch(text)
    assert f"'{text}'" in stack.file("lab", "x", {"labels": {"swarmbook.spec": text}})


@given(st.text("0123456789abcdef", min_size=1, max_size=16))
def test_no_hash_is_a_number(text: str) -> None:
    (line,) = stack.file("lab", "x", {"spec": text}).splitlines()[1:]
    written = line.removeprefix("spec: ")
    assert yaml.safe_load(line) == {"spec": text}
    assert written == f"'{text}'" or not _GO_NUMBER.fullmatch(written)
