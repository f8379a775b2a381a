"""Payloads of shell, SQL, YAML and terminal at every text among the parameters: refused, or no more than a text.

The parameters are found by introspection, so that a new one is thrown at as well.
"""

from __future__ import annotations

import ast
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from swarmbook.base.errors import ParameterError
from swarmbook.base.plain import plain
from swarmbook.params import Params, load_params, params_from_namespace
from swarmbook.params.kinds import WORDS

#: A text that each takes, for the payloads to be put into; and what goes with it.
GOOD: dict[str, str] = {
    "cluster": "lab", "nodes": "sw1", "without": "sw3", "lab_base_image": "registry.example:5000/debian/base:trixie-slim", "ssh_key_file": "~/.ssh/id_ed25519",
    "hosts": "sw1=root@[fd00::1]:2222", "private_addresses": "sw1=10.0.0.1", "ssh_jump": "me@jump.example:22",
    "ssh_config": "~/.ssh/config", "ssh_agent": "SSH_AUTH_SOCK",
    "sl_endpoint": "https://api.softlayer.com/xmlrpc/v3.1/", "sl_domain": "example.com", "sl_region": "dal10", "sl_os": "UBUNTU_22_64",
    "sl_tags": "tag", "sl_ssh_key_label": "me@laptop", "packages": "libstdc++6", "docker_disk": "/dev/disk/by-id/lab-second-disk",
    "wipe_disks": "sw1", "datacenter": "dc1", "instance_type": "big", "dns_primary": "9.9.9.9", "dns_secondary": "2620:fe::9",
    "dns_search_domain": "service.consul", "log_max_size": "10m", "swarm_address_pool": "10.201.0.0/16", "consul_gossip_key": "env:GOSSIP",
    "consul_management_token": "file:~/tokens/my token", "overlay_network": "backend", "overlay_subnet": "10.200.0.0/24", "mariadb_clients": "10.1.0.0/16",
    "mariadb_cluster_name": "galera", "galera_nodes": "sw1", "mariadb_data_path": "/srv/mariadb", "mariadb_init_scripts": "init/scripts",
    "mariadb_buffer_pool": "128M", "mariadb_settings": "max_connections=500", "mariadb_unreplicated": "app.cache", "mariadb_database": "app", "mariadb_user": "app", "mariadb_password": "generate",
    "mariadb_admin": "dba", "replace": "sw3", "recover_member": "sw3", "backup_repository": "backups/lab", "backup_password": "file:~/password", "backup_keep": "7 daily", "restore_snapshot": "1a2b3c4d", "restore_cluster": "lab", "restore_to": "2026-11-28 14:03:07", "standby_of": "params/other.yaml", "on_finish": "~/bin/tell", "on_failure": "https://hooks.example:8443/a/b", "confirm": "DESTROY",
}  # fmt: skip

PAYLOADS = [
    "; touch /tmp/x", "$(touch /tmp/x)", "`touch /tmp/x`", "| sh", "&& reboot", "&", "> /etc/passwd", "< /etc/shadow", "*", "?", "{a,b}", "!!", "#", "\\", "'", '"', "${IFS}",
    "-oDPkg::Pre-Invoke::=touch /tmp/x", "--privileged", "-rf",
    "'; DROP DATABASE app; -- ", "` OR 1=1", '" UNION SELECT', "\\'", "/*", "@@version'",
    "\nkey: value", "{a: b}", "[a]", "!!python/object:os.system", "&anchor", "*alias", "%YAML", "|\n  text",
    "\n", "\r", "\r\n", "\t", "\x00", "\x1b[2J", "\x1b]52;c;aWQ=\x07", "\x9b2J", "\x7f", "\u202e", "\u2028", "\u200b", "\x85", "\x0b", "\x0c", "\x1c",
    "/../../etc", "..", "%0a", "\uff1b", "\ufeff",
]  # fmt: skip

#: What a shell, SQL or a terminal takes for more than itself, in any place; brackets stand in IPv6 addresses.
_ACTIVE = set(";&|<>$`\"'\\(){}*?!#^\n\r\t\x00")


def _texts() -> dict[str, bool]:
    """Each parameter that is a text, or a list of texts; and whether it is a list."""
    found = {}
    for name, annotation in typing.get_type_hints(Params, include_extras=False).items():
        if name not in Params.model_fields or get_origin(annotation) is Literal:
            continue
        if annotation is str:
            found[name] = False
        elif get_origin(annotation) is list and get_args(annotation) == (str,):
            found[name] = True
    return found


TEXTS = _texts()


def test_every_text_is_thrown_at() -> None:
    assert set(GOOD) == set(TEXTS)


def _patterns(name: str) -> list[str]:
    schema = Params.model_json_schema()["properties"][name]
    return [part["pattern"] for part in (schema, schema.get("items", {})) if "pattern" in part]


def _longest(name: str) -> list[int]:
    schema = Params.model_json_schema()["properties"][name]
    return [part["maxLength"] for part in (schema, schema.get("items", {})) if "maxLength" in part]


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_has_a_pattern_words_for_it_and_an_end(name: str) -> None:
    (pattern,) = _patterns(name)
    assert pattern.startswith("^") and pattern.endswith("$") and pattern in WORDS
    assert _longest(name), "any length"


def accepted(name: str, value: str) -> bool:
    """Whether the schema takes a text; cross checks are left aside, since they only refuse more."""
    try:
        Params(**{name: [value] if TEXTS[name] else value})
    except ValidationError as error:
        assert {item["loc"][0] for item in error.errors()} == {name}
        return False
    return True


def check(name: str, value: str) -> None:
    if accepted(name, value):
        assert not _ACTIVE & set(value), f"{name} takes {value!r}"
        assert not value.startswith("-"), f"{name} takes an option: {value!r}"
        assert plain(value) == value and len(value.splitlines()) <= 1, f"{name} takes {value!r}"
        if name in ("mariadb_data_path", "docker_disk"):
            assert ".." not in value.split("/"), f"{name} takes {value!r}"


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_good_is_taken(name: str) -> None:
    assert accepted(name, GOOD[name])


@pytest.mark.parametrize("name", TEXTS)
def test_payloads(name: str) -> None:
    good = GOOD[name]
    for payload in PAYLOADS:
        for value in (payload, good + payload, payload + good, good[:2] + payload + good[2:]):
            check(name, value)


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_any_text_at_any_place(name: str, data: st.DataObject) -> None:
    good = GOOD[name]
    at = data.draw(st.integers(0, len(good)))
    put = data.draw(st.one_of(st.text(max_size=4), st.sampled_from(PAYLOADS)))
    check(name, good[:at] + put + good[at:])


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x85"])
def test_a_newline_passes_nowhere(name: str, end: str, tmp_path: Path) -> None:
    """Not at the end either, where Python's ``$`` would let it in; from a file, and from a notebook's cell."""
    value: Any = GOOD[name] + end
    assert not accepted(name, value) and not accepted(name, end) and not accepted(name, end + GOOD[name])
    file = tmp_path / "p.yaml"
    file.write_text(
        f'{name}: {"[" if TEXTS[name] else ""}"{value.encode("unicode_escape").decode()}"{"]" if TEXTS[name] else ""}\n'
    )
    with pytest.raises(ParameterError, match=name):
        load_params(file)
    # Those of the command alone stand in no notebook.
    for phase in Params.model_fields[name].json_schema_extra["phases"][:1]:  # type: ignore[index,call-overload]
        with pytest.raises(ParameterError, match=name):
            params_from_namespace(phase, {name: [value] if TEXTS[name] else value})


def test_pythons_dollar_lets_in_no_newline(root: Path) -> None:
    """``re.match("...$")`` takes "a\\n" for "a": what checks a text uses ``fullmatch``, or looks for a line on purpose."""
    wrong = []
    for file in sorted((root / "swarmbook").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("re.match", "re.search") and node.args:
                pattern = ast.unparse(node.args[0]).rstrip("'\"")
                if pattern.endswith("$"):
                    wrong.append(f"{file.relative_to(root)}:{node.lineno}: {pattern}")
    assert not wrong, "\n".join(wrong)


def test_apt_is_given_names_and_no_options(root: Path) -> None:
    """``-oDPkg::Pre-Invoke::=...`` among the packages ran as root; and ``name-`` would have apt remove it."""
    for value in (
        "-oDPkg::Pre-Invoke::=touch",
        "--allow-downgrades",
        "mariadb-server-",
        "a b",
        "a/unstable",
        "a=1",
        "a^",
        "*",
        "",
    ):
        assert not accepted("packages", value), value
    for value in ("g++", "libstdc++6", "python3.11", "gcc-12-base", "NetworkManager", "glibc_devel"):
        assert accepted("packages", value), value
