"""Parameters: every mistake at once, each with its line and its fix, and never a secret repeated."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.codes import Code
from swarmbook.base.errors import ParameterError
from swarmbook.model.phases import PHASES
from swarmbook.params import Params, load_params, params_from_namespace, phase_params
from swarmbook.testing.errors import raises

SECRETS = ["consul_gossip_key", "consul_management_token", "mariadb_password"]


def reported(tmp_path: Path, text: str) -> str:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError) as caught:
        load_params(file)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_file_that_names_the_cluster_alone_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("cluster: lab\n")
    assert load_params(file) == Params()


def test_values_are_read(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("cluster: shop\nnodes: [a1, b1, c1]\nwipe_disks:\n  - b1\nmariadb_password: env:PW\n")
    params = load_params(file)
    assert (params.cluster, params.nodes, params.wipe_disks) == ("shop", ["a1", "b1", "c1"], ["b1"])


OWN = "provider: generic\nssh_key_file: key"
MISTAKES = {
    "unknown key": ("clutser: x", 1, "clutser", "did you mean cluster?"),
    "unknown key, nothing near": ("zzzzzz: 1", 1, "no such parameter", "swarmbook params"),
    "number as text": ("\nwait_timeout: '300'", 2, "wait_timeout", "maximum seconds for any single wait"),
    "text as number": ("cluster: 5", 1, "cluster: input should be a valid string (seen: 5)", "default 'lab'"),
    "yes as text": ("system_update: 'yes'", 1, "system_update", "default False"),
    "a scalar for a list": ("nodes: sw1", 1, "nodes", "names of the nodes"),
    "a bad item": ("nodes: [sw1, SW2, sw3]", 1, "nodes: [1] not a name of 2 to 32 lowercase letters", "SW2"),
    "out of range": ("mariadb_port: 70000", 1, "mariadb_port", "65535"),
    "duplicate key": ("cluster: a1\nwait_timeout: 20\ncluster: b1", 3, "given twice (first in line 1)", "keep one of the two"),
    "duplicate node": ("nodes: [sw1, sw2, sw2, sw3]", 1, "sw2 is named twice", "name each node once"),
    "two managers": ("swarm_managers: 2", 1, "2 managers: raft needs a majority", "use 1 or 3"),
    "four managers": ("nodes: [a1, b1, c1, d1]\nswarm_managers: 4", 2, "4 managers", "use 3 or 5"),
    "no manager": ("swarm_managers: 0", 1, "0 managers", "use 1 or 3"),
    "nine managers": ("swarm_managers: 9", 1, "9 managers", "use 7"),
    "more managers than nodes": ("swarm_managers: 5", 1, "5 managers, but 3 nodes", "use 3, or name more nodes"),
    "overlapping subnets": ("overlay_subnet: 10.201.7.0/24", 1, "10.201.7.0/24 overlaps swarm_address_pool 10.201.0.0/16", "share an address"),
    "no subnet": ("overlay_subnet: 10.200.0.0/33", 1, "overlay_subnet", "an IPv4 network such as"),
    "host bits": ("overlay_subnet: 10.200.0.5/24", 1, "has host bits set", "an IPv4 network such as"),
    "not IPv4": ("overlay_subnet: fd00::/64", 1, "overlay_subnet", "an IPv4 network such as"),
    "a small subnet": ("overlay_subnet: 10.200.0.0/29", 1, "has 6 addresses, and 10 are needed", "a /28 or larger"),
    "a subnet for one": ("nodes: [sw1]\nswarm_managers: 1\noverlay_subnet: 10.200.0.0/30", 3, "has 2 addresses, and 4 are needed", "a /29 or larger"),
    "one port for two": ("mariadb_port: 8501", 1, "8501 is the port of consul_https_port", "a port of its own"),
    "a port of the swarm's": ("docker_api_port: 2377", 1, "2377 is the port of the swarm's managers", "a port of its own"),
    "a port of Consul's": ("consul_https_port: 8301", 1, "8301 is the port of Consul's gossip", "a port of its own"),
    "root for an application": ("mariadb_user: root", 1, "root is a login of the server's", "such as app"),
    "the book's own login": ("mariadb_admin: swarmbook", 1, "is a login of the server's, or of the book's", "such as app"),
    "an application that administrates": ("mariadb_admin: app", 1, "it is mariadb_user too", "two names"),
    "a database that is dropped": ("mariadb_database: Test", 1, "Test is the server's, or the book's own", "such as app"),
    "small pool": ("swarm_address_pool: 10.201.0.0/26", 1, "smaller than the /24", "a /16"),
    "no address": ("dns_primary: 9.9.9", 1, "'9.9.9' is not an address", "9.9.9.9"),
    "a stranger for a member": ("galera_nodes: [sw9]", 1, "sw9 is not in nodes (sw1, sw2, sw3)", "name a node of the cluster"),
    "a stranger to be wiped": ("wipe_disks: [sw9]", 1, "sw9 is not in nodes", "name a node of the cluster"),
    "renewed for ever": ("certificate_days: 20", 1, "renewed on every run", "less than certificate_days (20)"),
    "a certificate for two years": ("certificate_days: 730", 1, "certificate_days", "365"),
    "a relative path": ("mariadb_data_path: data", 1, "not an absolute path", "/srv/mariadb"),
    "half a user": ("mariadb_user: ''", 1, "go together", "give both"),
    "a size": ("mariadb_buffer_pool: lots", 1, "mariadb_buffer_pool", "innodb_buffer_pool_size"),
    "rented machines without a domain": ("provider: softlayer", 1, "needs a domain for its instances", "example.com"),
    "a domain that is none": ("sl_domain: Example", 1, "sl_domain", "such as example.com"),
    "CentOS": ("sl_os: CENTOS_LATEST", 1, "CentOS is discontinued", "UBUNTU_22_64"),
    "one VLAN for both": ("sl_public_vlan: 5\nsl_private_vlan: 5", 2, "are the same", "slcli vlan list"),
    "hosts that are not named": ("provider: generic\nssh_key_file: key", 1, "no host for sw1, sw2, sw3", "add sw1=USER@ADDRESS"),
    "a host too few": ("provider: generic\nssh_key_file: key\nhosts: [sw1=a.example, sw3=root@10.0.0.3:22]", 3, "no host for sw2", "add sw2=USER@ADDRESS"),
    "a host too many": (f"{OWN}\nhosts: [sw1=a, sw2=b, sw3=c, sw4=d]", 3, "sw4 is not in nodes (sw1, sw2, sw3)", "name a node"),
    "a host for two": (f"{OWN}\nhosts: [sw1=a, sw2=a, sw3=c]", 3, "sw1 and sw2 are both a", "a host of its own"),
    "two hosts for one": (f"{OWN}\nhosts: [sw1=a, sw2=b, sw3=c, sw3=d]", 3, "sw3 is listed twice", "one entry for each"),
    "a host without its name": (f"{OWN}\nhosts: [10.0.0.1, sw2=b, sw3=c]", 3, "hosts: [0] not NAME=", "NAME=[USER@]ADDRESS[:PORT]"),
    "a host with a path": (f"{OWN}\nhosts: [sw1=a/b, sw2=b, sw3=c]", 3, "hosts: [0] not NAME=", "NAME=[USER@]ADDRESS[:PORT]"),
    "no key for the hosts": ("provider: generic\nhosts: [sw1=a, sw2=b, sw3=c]", 1, "and no key is named", "~/.ssh/id_ed25519"),
    "a private address that is none": (f"{OWN}\nhosts: [sw1=a, sw2=b, sw3=c]\nprivate_addresses: [sw1=10.0.0]", 4, "not an IPv4 address", "sw1=10.0.0.11"),
    "one private address for two": (
        f"{OWN}\nhosts: [sw1=a, sw2=b, sw3=c]\nprivate_addresses: [sw1=10.0.0.1, sw2=10.0.0.1]", 4, "sw1 and sw2 are both 10.0.0.1", "a host of its own",
    ),
    "a jump host with a shell in it": (f"{OWN}\nhosts: [sw1=a, sw2=b, sw3=c]\nssh_jump: \"a;b\"", 4, "ssh_jump", "[USER@]ADDRESS[:PORT]"),
    "another provider": ("provider: aws", 1, "provider", "where the machines come from"),
    "a list": ("- a\n- b", 1, "not a mapping", "'name: value'"),
    "not YAML": ("cluster: lab\nnodes: [sw1\n", 3, "not YAML", "'name: value'"),
    "python object": ("cluster: !!python/object:os.system {}", 1, "cluster", "plain scalars"),
    "date": ("cluster: 2026-13-45", 1, "cluster", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_line_and_fix(tmp_path: Path, text: str, line: int, what: str, fix: str) -> None:
    message = reported(tmp_path, text)
    assert what in message
    assert fix in message
    if not any(
        words in what for words in ("renewed", "go together", "needs a domain", "no host for sw1", "no key is named")
    ):  # those lines are about a default that is in no line
        assert re.search(rf"^ +(seen: +)?line {line}: ", message, re.MULTILINE), message


@pytest.mark.parametrize(
    ("key", "given", "near"),
    [
        ("nodes", "db1.example.com", "db1"),
        ("nodes", "DB1", "db1"),
        ("nodes", "db_2", "db-2"),
        ("nodes", "3db", "n3db"),
        ("nodes", "n", "n1"),
        ("hosts", "DB_1.example.com=root@10.0.0.1:22", "db-1=root@10.0.0.1:22"),
        ("private_addresses", "DB1=10.0.0.1", "db1=10.0.0.1"),
    ],
)
def test_a_name_as_people_have_it_is_refused_with_one_that_can_be_used(
    tmp_path: Path, key: str, given: str, near: str
) -> None:
    """The name of a node is the book's own: what the host calls itself may stay."""
    file = tmp_path / "x.yaml"
    file.write_text(f"cluster: lab\n{key}: ['{given}']\n")
    with pytest.raises(ParameterError) as caught:
        load_params(file)
    said = str(caught.value)
    assert f"fix: {near}; the name is the book's own" in said and given in said and "^[" not in said


def test_a_bad_default_combination_is_told_at_line_one(tmp_path: Path) -> None:
    assert "line 1: certificate_renew_days" in reported(tmp_path, "\n\ncertificate_days: 20")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc",
        "/etc/mysql",
        "/usr/local/db",
        "/var",
        "/var/lib",
        "/var/lib/docker/db",
        "/run/db",
        "/proc/1",
        "/home",
        "//etc",
    ],
)
def test_no_data_lies_in_a_folder_of_the_system(tmp_path: Path, path: str) -> None:
    assert "line 1: mariadb_data_path" in reported(tmp_path, f"mariadb_data_path: {path}\n")


@pytest.mark.parametrize(
    "path", ["/srv", "/srv/db", "/home/db", "/mnt/disk", "/opt/db", "/var/lib/mariadb", "/data", "/etcetera"]
)
def test_where_data_may_lie(tmp_path: Path, path: str) -> None:
    (tmp_path / "own.yaml").write_text(f"mariadb_data_path: {path}\n")
    assert load_params(tmp_path / "own.yaml").mariadb_data_path == path


def test_all_mistakes_are_told_at_once_in_order(tmp_path: Path) -> None:
    message = reported(
        tmp_path,
        "clutser: x\nnodes: [sw1, sw1, sw2]\nwait_timeout: soon\nswarm_managers: 2\nwait_timeout: 5\noverlay_subnet: 10.201.0.0/24\nmariadb_port: -1\n",
    )
    assert "7 mistakes" in message
    assert [int(n) for n in re.findall(r"line (\d+):", message)] == [1, 2, 3, 4, 5, 6, 7]
    assert message.count("fix:") == 7


def test_a_mistake_brings_no_second_one_with_it(tmp_path: Path) -> None:
    message = reported(tmp_path, "nodes: sw1 sw2 sw3 sw4 sw5\nswarm_managers: 5\ngalera_nodes: [sw4, sw5]\n")
    assert "1 mistake " in message, message


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "value", ["Tr0ub4dor&3xyz", "'Tr0ub4dor&3xyz'", "[Tr0ub4dor3xyz]", "{a: Tr0ub4dor3xyz}", "!Tr0ub4dor3xyz", "*Tr0ub4dor3xyz", "&Tr0ub4dor3xyz", "Tr0ub4dor3xyz: b"]
)  # fmt: skip
def test_what_looks_like_a_secret_is_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    message = reported(tmp_path, f"{name}: {value}\n")
    assert "Tr0ub4dor" not in message
    assert name in message or "not YAML" in message


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", ["generate", "env:MY_PW", "file:/run/secrets/pw", "file:~/pw file"])
def test_references_are_taken(name: str, value: str) -> None:
    assert getattr(Params(**{name: value}), name) == value


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raises(Code.PARAMETERS_NOT_READ) as caught:
        load_params(tmp_path / "none.yaml")
    assert caught.value.next is not None


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"cluster: \xff\xfe\n")
    with pytest.raises(ParameterError):
        load_params(file)


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60)
    | st.text(alphabet="nodes:[]{}!&*-#'\"\n 0123456789_.,|>?%@`~", max_size=60)
)
def test_any_text_gives_parameters_or_a_parameter_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_params(file)
    except ParameterError as error:
        assert "fix:" in str(error)


json_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.text(max_size=5), max_size=3)
)


@given(st.dictionaries(st.sampled_from([*Params.model_fields, "nonsense"]), json_values, max_size=6))
def test_any_values_give_parameters_or_a_parameter_error(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(values))
    try:
        params = load_params(file)
    except ParameterError:
        return
    assert all(getattr(params, name) == value for name, value in values.items())
    file.write_text(yaml.safe_dump(params.model_dump()))
    assert load_params(file) == params


@pytest.mark.parametrize(
    "value",
    ["2026-13-45", "!!int abc", "!!bool maybe", "!!timestamp x", "!!float x", "[1, [2, !!int z]]", "!!binary /"],
)
def test_values_that_yaml_itself_stumbles_over(tmp_path: Path, value: str) -> None:
    assert "line 2: cluster" in reported(tmp_path, f"\ncluster: {value}\n")


def test_a_view_gives_what_its_notebook_declares() -> None:
    view = Params(overlay_subnet="10.0.0.0/24").view("06")
    assert view.overlay_subnet == "10.0.0.0/24"
    assert view.nodes == ["sw1", "sw2", "sw3"]


def test_a_view_refuses_foreign_names() -> None:
    view = Params().view("02")
    for name in set(Params.model_fields) - set(phase_params("02")):
        with pytest.raises(AttributeError, match=f"phase 02 reads the parameter '{name}'"):
            getattr(view, name)
    with pytest.raises(AttributeError):
        view.nonsense  # noqa: B018


@pytest.mark.parametrize(("phase", "method"), [("04", "managers"), ("05", "members")])
def test_a_view_refuses_what_is_computed_from_a_foreign_name(phase: str, method: str) -> None:
    needed = {"managers": "swarm_managers", "members": "galera_nodes"}[method]
    assert needed not in phase_params(phase), "choose a phase that does not declare it"
    with pytest.raises(AttributeError):
        getattr(Params().view(phase), method)()


def test_managers_and_members() -> None:
    params = Params(nodes=["a1", "b1", "c1", "d1"], swarm_managers=3, galera_nodes=["d1", "b1"])
    assert (params.managers(), params.members()) == (["a1", "b1", "c1"], ["d1", "b1"])
    assert Params().members() == ["sw1", "sw2", "sw3"]


def test_namespace_of_a_notebook() -> None:
    params = params_from_namespace("06", {"overlay_subnet": "10.1.0.0/24", "swarm_managers": 17, "anything": object()})
    assert params.overlay_subnet == "10.1.0.0/24"
    assert params.swarm_managers == 3 or "swarm_managers" in phase_params("06")


@pytest.mark.parametrize(
    ("phase", "namespace"),
    [
        ("02", {"nodes": ["sw1"]}),
        ("06", {"overlay_subnet": "10.201.0.0/24"}),
        ("08", {"nodes": ["a1", "b1", "c1"], "galera_nodes": ["b1"]}),
    ],
)
def test_a_notebook_is_not_told_of_defaults_that_it_does_not_declare(phase: str, namespace: dict[str, Any]) -> None:
    assert all(getattr(params_from_namespace(phase, namespace), name) == value for name, value in namespace.items())


def test_namespace_names_the_notebook() -> None:
    with pytest.raises(ParameterError, match=r"the parameters cell of 06_create_overlay") as caught:
        params_from_namespace("06", {"overlay_subnet": "all"})
    assert "overlay_subnet" in str(caught.value)


def test_every_parameter_has_help_and_phases() -> None:
    for name, field in Params.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description
        assert set(field.json_schema_extra["phases"]) <= set(PHASES), name  # type: ignore[index,arg-type,call-overload]


def test_no_default_is_a_secret() -> None:
    assert all(Params.model_fields[name].default == "generate" for name in SECRETS)


#: Which notebook calls into a folder or file of phases; support serves several.
READERS = {
    "start": "00", "provision/step": "01 91", "provision/preflight_checks": "01", "post_provision/disks": "02", "post_provision/software": "02",
    "engine": "03", "swarm": "03", "consul": "04", "dns": "05", "overlay": "06", "galera": "07 08", "history": "08", "destroy": "90",
}  # fmt: skip


@pytest.mark.parametrize(("place", "phases"), READERS.items())
def test_a_phase_declares_what_its_module_reads(root: Path, place: str, phases: str) -> None:
    folder = root / "swarmbook" / "phases" / place
    declared = {name for phase in phases.split() for name in phase_params(phase)}
    for file in sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
        tree = ast.parse(file.read_text())
        read = {
            n.attr
            for n in ast.walk(tree)
            if isinstance(n, ast.Attribute) and ast.unparse(n.value).split(".")[-1] == "params"
        }
        assert read & set(Params.model_fields) <= declared, file


def test_the_files_that_ship(root: Path) -> None:
    assert load_params(root / "params" / "lab.yaml").provider == "lab"
    assert load_params(root / "params" / "softlayer.yaml").provider == "softlayer"
    assert load_params(root / "params" / "generic.yaml").provider == "generic"


def test_mypy_sees_the_types_of_all_parameters_in_a_view() -> None:
    hints = get_type_hints(Params.view)
    assert hints["return"] is Params
    assert {name for name, field in Params.model_fields.items() if field.annotation in (Any, None)} == set()
