"""Every parameter once: name, type, default, one line of help, the phases that use it.

Parameters live in flat YAML (so that ``papermill -f`` takes the same file) and are strict: an unknown key, a wrong
type, a key given twice or two values that do not fit each other are all told at once, each with file, line and mend.
A parameter never holds a secret, only a reference to one (see :mod:`swarmbook.secrets`).
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .errors import ParameterError
from .secrets import REFERENCE

__all__ = [
    "PHASES", "Mistake", "ParamView", "Params", "differing", "load_params", "params_from_namespace", "params_from_record", "phase_params",
]  # fmt: skip

#: Number and name of each notebook.
PHASES: dict[str, str] = {
    "00": "start_here",
    "01": "provision_instances",
    "02": "post_provision",
    "03": "build_swarm",
    "04": "deploy_consul",
    "05": "verify_swarm",
    "06": "create_overlay",
    "07": "bootstrap_galera",
    "08": "verify_galera",
    "90": "destroy_swarm",
    "91": "cancel_instances",
}

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
SecretReference = Annotated[str, StringConstraints(pattern=REFERENCE)]
Port = Annotated[int, Field(ge=1, le=65535)]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*[kKmMgG]$")]
Address = Annotated[str, StringConstraints(pattern=r"^([0-9a-fA-F:.]+)?$")]
_LOGIN = r"([A-Za-z_][A-Za-z0-9_.-]*@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?"
HostEntry = Annotated[str, StringConstraints(pattern=rf"^[a-z][a-z0-9-]*={_LOGIN}$")]
AddressEntry = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*=[0-9.]+$")]
_ALL = tuple(PHASES)


def _p(default: Any, phases: str | tuple[str, ...], help: str, **limits: Any) -> Any:
    names = phases if isinstance(phases, tuple) else tuple(phases.split())
    return Field(default=default, description=help, json_schema_extra={"phases": list(names)}, **limits)


class Params(BaseModel):
    """All parameters of a book; frozen and strict."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    cluster: Name = _p("lab", _ALL, "name of the cluster: labels everything that is made, and names its folder")
    nodes: list[Name] = _p(["sw1", "sw2", "sw3"], _ALL, "names of the nodes, in order", min_length=1, max_length=50)
    provider: Literal["lab", "generic", "softlayer"] = _p(
        "lab", "00 01 91", "where the machines come from: lab (this computer), generic (hosts you have) or softlayer (rented, costs money)"
    )
    wait_timeout: int = _p(300, "01 02 03 04 05 06 07 08 90 91", "seconds any single wait may take", ge=10, le=7200)
    lab_disk_gb: int = _p(10, "00 01", "size of each lab machine's second disk, GiB (sparse)", ge=1, le=2000)
    lab_hourly_cost: float = _p(0.0, "00 01", "what a lab machine is said to cost an hour; above 0, ORDER is asked for as with rented ones", ge=0, le=1000)
    lab_base_image: str = _p("debian:trixie-slim", "01 03 04 05 06 07 91", "base of the images; bootstrapped where it cannot be pulled")
    ssh_key_file: str = _p("", "00 01", "private SSH key to take for the nodes, without a passphrase, from the book's folder; empty: one is generated")
    hosts: list[HostEntry] = _p(
        [], "00 01", "the hosts you have, NAME=[USER@]ADDRESS[:PORT] for each of nodes; a user other than root needs sudo without a password"
    )
    private_addresses: list[AddressEntry] = _p([], "01", "NAME=ADDRESS where the other nodes reach a host, if it has several; by default its own choice")
    ssh_jump: str = _p("", "01", "jump host to the hosts, [USER@]ADDRESS[:PORT]; empty: none", pattern=rf"^({_LOGIN})?$")
    sl_endpoint: str = _p(
        "", "00 01 91", "URL of SoftLayer's API; empty: what ~/.softlayer says, else the public one; rehearsal: lab machines, nothing is rented"
    )
    sl_domain: str = _p(
        "", "01 91", "domain of the instances, such as example.com", pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+)?$"
    )
    sl_region: Name = _p("dal10", "01", "datacenter that the instances are ordered in")
    sl_cpu: int = _p(2, "01", "cores of an instance", ge=1, le=64)
    sl_memory: int = _p(4096, "01", "memory of an instance, MB", ge=1024, le=262144)
    sl_billing: Literal["hourly", "monthly"] = _p("hourly", "01", "how instances are billed: hourly or monthly")
    sl_os: str = _p("UBUNTU_22_64", "01", "reference code of the system; held against what the account offers", pattern=r"^[A-Za-z0-9_]+$")
    sl_os_disk: int = _p(25, "01", "size of the system's disk, GB", ge=25, le=2000)
    sl_docker_disk: int = _p(100, "01", "size of the second disk, for docker, GB", ge=10, le=2000)
    sl_local_disk: bool = _p(True, "01", "disks of the machine that an instance runs on; false: of the SAN")
    sl_network_speed: int = _p(100, "01", "speed of the network ports, Mbps", ge=10, le=10000)
    sl_public_vlan: int = _p(0, "01", "id (not number) of the public VLAN; 0: the service chooses", ge=0)
    sl_private_vlan: int = _p(0, "01", "id (not number) of the private VLAN; 0: the service chooses", ge=0)
    sl_tags: list[Name] = _p([], "01", "tags of the instances, besides the cluster's own")
    sl_ssh_interface: Literal["public", "private"] = _p("public", "01", "which address the nodes are reached at from here: public or private")
    sl_ssh_key_label: str = _p("", "01 91", "label of the SSH key in the account; empty: swarmbook-CLUSTER", pattern=r"^[A-Za-z0-9_.@-]*$")
    sl_wait_timeout: int = _p(1800, "01 91", "seconds that ordering or cancelling may take until it is done", ge=10, le=14400)
    system_update: bool = _p(False, "02", "bring the system's packages up to date first")
    packages: list[str] = _p([], "02", "packages to install besides what the storage layout needs")
    storage_layout: Literal["btrfs"] = _p("btrfs", "02", "how the second disk is laid out under /var/lib/docker")
    docker_disk: str = _p("auto", "02", "device of the second disk on every node; auto: what the provider says")
    wipe_disks: list[Name] = _p([], "02", "nodes whose second disk may be wiped although it holds foreign data")
    datacenter: Name = _p("lab1", "03 04", "engine label dc= and Consul's datacenter")
    instance_type: Name = _p("lab", "03", "engine label instance_type=")
    storage_driver: Literal["btrfs", "overlay2"] = _p("overlay2", "03", "the engine's storage driver")
    dns_primary: Address = _p("", "03 04", "upstream name server; empty: the ones the node itself uses")
    dns_secondary: Address = _p("", "03 04", "second upstream name server, or empty")
    dns_search_domain: str = _p("service.consul", "03", "search domain of containers, or empty")
    log_max_size: Size = _p("10m", "03", "a container's log is rotated at this size")
    log_max_files: int = _p(3, "03", "how many rotated logs are kept", ge=1, le=100)
    docker_api_port: Port = _p(2376, "03 04 05 06 07 08 90", "port of the engine's API (mutual TLS)")
    swarm_managers: int = _p(3, "00 03 05", "how many of the nodes are managers: 1, 3, 5 or 7; the rest are workers")
    swarm_address_pool: str = _p("10.201.0.0/16", "03", "where the swarm takes subnets from when none is asked for")
    certificate_days: int = _p(365, "03 04 07", "life of a certificate, days", ge=1, le=365)
    certificate_renew_days: int = _p(30, "03 04 07", "days before its end at which a certificate is renewed", ge=0)
    consul_https_port: Port = _p(8501, "04 07 90", "port of Consul's HTTPS API on every node")
    consul_gossip_key: SecretReference = _p("generate", "04", "gossip encryption key: generate, env:NAME or file:PATH")
    consul_management_token: SecretReference = _p("generate", "04 07 90", "Consul's management token (a UUID): generate, env:NAME or file:PATH")
    overlay_network: Name = _p("backend", "06 07 90", "name of the overlay network")
    overlay_subnet: str = _p("10.200.0.0/24", "06 07", "subnet of the overlay network")
    overlay_mtu: int = _p(0, "06", "MTU of the overlay, bytes; 0: the nodes' smallest less VXLAN's 50", ge=0, le=9000)
    mariadb_cluster_name: Name = _p("galera", "07 08 90", "name of the Galera cluster, its services and its secrets")
    galera_nodes: list[Name] = _p([], "00 03 07 08", "nodes that carry a member; empty: all")
    mariadb_port: int = _p(0, "07 08", "port of the member on its host; 0: not published", ge=0, le=65535)
    mariadb_data_path: str = _p("", "07 90", "folder of the data on the node; empty: a named volume")
    mariadb_init_scripts: str = _p("", "07", "local folder of *.sql, *.sql.gz, *.sh, run once on the first member")
    mariadb_buffer_pool: Size = _p("128M", "07", "innodb_buffer_pool_size of each member")
    mariadb_database: str = _p("app", "07 08", "database made at the bootstrap", pattern=r"^([A-Za-z][A-Za-z0-9_]{0,63})?$")
    mariadb_user: str = _p("app", "07 08", "its user", pattern=r"^([a-z][a-z0-9_]{0,31})?$")
    mariadb_password: SecretReference = _p("generate", "07", "its password: generate, env:NAME or file:PATH")
    mariadb_root_password: SecretReference = _p("generate", "07 08", "root's password: generate, env:NAME or file:PATH")
    confirm: str = _p("", "01 02 90 91", "the typed word for what costs or destroys: ORDER (01), DESTROY (02, 90), CANCEL (91)")

    def managers(self) -> list[str]:
        """The nodes that are swarm managers: the first ``swarm_managers`` of ``nodes``."""
        return self.nodes[: self.swarm_managers]

    def members(self) -> list[str]:
        """The nodes that carry a Galera member, first the one that bootstraps."""
        return list(self.galera_nodes or self.nodes)

    def view(self, phase: str) -> ParamView:
        """These parameters as one phase may see them; all of them for no phase."""
        return ParamView(self, phase)


class ParamView:
    """The parameters of one phase: reading one that its notebook does not declare is an error of the library."""

    def __init__(self, params: Params, phase: str) -> None:
        self._params = params
        self._allowed = set(phase_params(phase) if phase else Params.model_fields)
        self.phase = phase

    def __getattr__(self, name: str) -> Any:
        read = {"managers": "swarm_managers", "members": "galera_nodes"}.get(name, name)
        if read in Params.model_fields and read not in self._allowed:
            raise AttributeError(f"phase {self.phase} reads the parameter {read!r}, which its notebook does not declare")
        return getattr(self._params, name)


def phase_params(phase: str) -> list[str]:
    """Names of the parameters that a phase's notebook declares, in order."""
    return [name for name, field in Params.model_fields.items() if phase in field.json_schema_extra["phases"]]  # type: ignore[index,operator]


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing wrong in a parameter file."""

    line: int
    key: str
    what: str
    mend: str


def load_params(path: str | Path) -> Params:
    """Read a parameter file.

    Args:
        path: A flat YAML file.

    Returns:
        The parameters, defaults filled in.

    Raises:
        ParameterError: Everything that is wrong with the file, in one message.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(
            f"the parameter file cannot be read: {error.strerror}", where=str(path), next="name one that is there, such as params/lab.yaml"
        ) from None
    except UnicodeDecodeError as error:
        raise ParameterError("the parameter file is not text", where=str(path), wanted="UTF-8", seen=str(error.reason), next="save it as UTF-8") from None
    values, lines, mistakes = _read(text)
    params, more = _validate(values)
    mistakes += [Mistake(lines.get(m.key, 1), m.key, m.what, m.mend) for m in more]
    _raise(mistakes, str(path))
    assert params is not None
    return params


def params_from_namespace(phase: str, namespace: Mapping[str, Any]) -> Params:
    """Parameters from the variables of a notebook's parameters cell.

    Args:
        phase: Number of the notebook, such as ``"04"``.
        namespace: The notebook's variables (``globals()``).

    Raises:
        ParameterError: Everything that is wrong with the values.
    """
    names = phase_params(phase)
    params, mistakes = _validate({name: namespace[name] for name in names if name in namespace}, names)
    _raise(mistakes, f"the parameters cell of {phase}_{PHASES[phase]}")
    assert params is not None
    return params


def params_from_record(values: Mapping[str, Any], source: str) -> Params:
    """Parameters as a run or a plan has kept them.

    Args:
        values: By name.
        source: Where they were kept, for the message.

    Raises:
        ParameterError: This swarmbook does not take them.
    """
    params, mistakes = _validate(values)
    _raise(mistakes, source)
    assert params is not None
    return params


def differing(kept: Params, given: Params) -> str:
    """What two sets of parameters differ in, a line each; what confirms a step is no part of them."""
    old, new = kept.model_dump(exclude={"confirm"}), given.model_dump(exclude={"confirm"})
    return "\n".join(f"{name}: {old[name]!r} then, {new[name]!r} now" for name in old if old[name] != new[name])


def _raise(mistakes: list[Mistake], source: str) -> None:
    if not mistakes:
        return
    found = "\n".join(f"line {m.line}: {m.key}: {m.what}\n    mend: {m.mend}" for m in sorted(mistakes))
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    raise ParameterError(f"{count} in the parameters; nothing was touched", where=source, seen=found, next="mend the lines above and run again")


def _read(text: str) -> tuple[dict[str, Any], dict[str, int], list[Mistake]]:
    """Values and line numbers of a flat YAML mapping; PyYAML alone keeps the last of two equal keys and says nothing."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # What it quotes may be a secret that was put where a reference belongs: an alias, to YAML, when it begins with `*`.
        problem = re.sub(r" '..+'", "", getattr(error, "problem", None) or "it does not parse")
        return {}, {}, [Mistake((mark.line + 1) if mark else 1, "(file)", f"not YAML: {problem}", "one 'name: value' a line")]
    if root is None:
        return {}, {}, []
    if not isinstance(root, yaml.MappingNode):
        return {}, {}, [Mistake(1, "(file)", "not a mapping", "one 'name: value' a line")]
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    mistakes: list[Mistake] = []
    loader = yaml.SafeLoader("")
    for key_node, value_node in root.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in lines:
            mistakes.append(Mistake(line, key, f"given twice (first in line {lines[key]})", "keep one of the two"))
            continue
        lines[key] = line
        try:
            values[key] = loader.construct_object(value_node, deep=True)
        except Exception:  # PyYAML lets ValueError, KeyError and others through; its words would repeat the value, which may be a secret
            mistakes.append(Mistake(line, key, "not readable as a value", "plain scalars and lists only; quotes around text that begins with a sign"))
    return values, lines, mistakes


def _validate(values: Mapping[str, Any], names: Iterable[str] = Params.model_fields) -> tuple[Params | None, list[Mistake]]:
    """The parameters, or what is wrong with them; of ``names`` only, since a notebook leaves the others at their defaults."""
    mistakes: list[Mistake] = []
    good = dict(values)
    try:
        params = Params.model_validate(good)
    except ValidationError as error:
        for item in error.errors():
            key = str(item["loc"][0])
            good.pop(key, None)
            mistakes.append(_mistake(key, item))
        try:  # what is left can still be held against itself, so that all mistakes are told at once
            params = Params.model_validate(good)
        except ValidationError:
            return None, mistakes
    told = {m.key for m in mistakes}
    mistakes += [m for m in _cross_checks(params, told | (Params.model_fields.keys() - set(names))) if m.key not in told and m.key in names]
    return (None if mistakes else params), mistakes


def _mistake(key: str, item: Any) -> Mistake:
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, Params.model_fields, n=1)
        return Mistake(0, key, "no such parameter", f"did you mean {close[0]}?" if close else "`swarmbook params` lists them all")
    field = Params.model_fields[key]
    at = "".join(f"[{part}]" for part in item["loc"][1:])
    secret = field.annotation is SecretReference or REFERENCE in str(field.metadata)
    # A value that should have been a reference may well be the secret itself: it is not repeated.
    seen = "" if secret else f" (seen: {item['input']!r})"
    mend = f"{field.description}; default {field.default!r}"
    return Mistake(0, key, f"{at}{' ' if at else ''}{item['msg'].lower()}{seen}", mend)


def _cross_checks(p: Params, bad: set[str]) -> Iterator[Mistake]:
    """Values held against each other; those in ``bad`` are defaults that stand in for what is not known, and prove nothing."""
    for key in ("nodes", "galera_nodes", "wipe_disks"):
        names: list[str] = getattr(p, key)
        for twice in sorted({n for n in names if names.count(n) > 1}):
            yield Mistake(0, key, f"{twice} is named twice", "name each node once")
    for key in ("galera_nodes", "wipe_disks"):
        for stranger in [n for n in getattr(p, key) if n not in p.nodes and "nodes" not in bad]:
            yield Mistake(0, key, f"{stranger} is none of nodes ({', '.join(p.nodes)})", "name a node of the cluster")
    if p.provider == "generic":
        yield from _check_hosts(p, bad)
    if p.provider == "softlayer" and not p.sl_domain and "provider" not in bad:
        yield Mistake(0, "sl_domain", "the softlayer provider needs a domain for its instances", "a domain such as example.com; it need not be registered")
    if p.sl_os.startswith("CENTOS"):
        yield Mistake(0, "sl_os", f"{p.sl_os}: CentOS has ended, and the book knows Debian and Ubuntu", "a current one, such as UBUNTU_22_64 or DEBIAN_12_64")
    if p.sl_public_vlan and p.sl_public_vlan == p.sl_private_vlan:
        yield Mistake(0, "sl_private_vlan", "the public and the private VLAN are the same", "`slcli vlan list` shows the ids of both")
    if p.swarm_managers not in (1, 3, 5, 7):
        lower = max(n for n in (1, 3, 5, 7) if n <= max(p.swarm_managers, 1))
        yield Mistake(
            0,
            "swarm_managers",
            f"{p.swarm_managers} managers: raft needs a majority, and an even number survives no more losses than one less",
            f"use {lower}" + (f" or {lower + 2}" if lower < 7 else ""),
        )
    elif p.swarm_managers > len(set(p.nodes)) and "nodes" not in bad:
        fitting = max(n for n in (1, 3, 5, 7) if n <= max(len(set(p.nodes)), 1))
        yield Mistake(0, "swarm_managers", f"{p.swarm_managers} managers, but {len(set(p.nodes))} nodes", f"use {fitting}, or name more nodes")
    if p.certificate_renew_days >= p.certificate_days and "certificate_days" not in bad:
        yield Mistake(0, "certificate_renew_days", "a certificate would be renewed on every run", f"use less than certificate_days ({p.certificate_days})")
    subnets: dict[str, Any] = {}
    for key in ("overlay_subnet", "swarm_address_pool"):
        try:
            subnets[key] = ipaddress.IPv4Network(getattr(p, key))
        except ValueError as error:
            yield Mistake(0, key, str(error), "an IPv4 network such as 10.200.0.0/24")
    if "swarm_address_pool" in subnets and subnets["swarm_address_pool"].prefixlen > 24:
        yield Mistake(0, "swarm_address_pool", f"{p.swarm_address_pool} is smaller than the /24 each network takes from it", "a /16, say")
    if len(subnets) == 2 and "swarm_address_pool" not in bad and subnets["overlay_subnet"].overlaps(subnets["swarm_address_pool"]):
        yield Mistake(0, "overlay_subnet", f"{p.overlay_subnet} overlaps swarm_address_pool {p.swarm_address_pool}", "choose two that do not share an address")
    for key in ("dns_primary", "dns_secondary"):
        value = getattr(p, key)
        if value:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                yield Mistake(0, key, f"{value!r} is not an address", "an address such as 9.9.9.9, or empty")
    if p.mariadb_data_path and not re.match(r"^/[\w./-]+$", p.mariadb_data_path):
        yield Mistake(0, "mariadb_data_path", f"{p.mariadb_data_path!r} is not an absolute path", "a folder on the node such as /srv/mariadb, or empty")
    if p.mariadb_cluster_name == "consul":
        yield Mistake(0, "mariadb_cluster_name", "'consul' is the name of Consul's own stack", "choose another, such as galera")
    if bool(p.mariadb_user) != bool(p.mariadb_database) and "mariadb_database" not in bad:
        yield Mistake(0, "mariadb_user", "mariadb_user and mariadb_database go together", "give both, or leave both empty")


def _check_hosts(p: Params, bad: set[str]) -> Iterator[Mistake]:
    for key in ("hosts", "private_addresses"):
        entries: list[str] = getattr(p, key)
        names = [entry.partition("=")[0] for entry in entries]
        ends = [entry.partition("=")[2] for entry in entries]
        for twice in sorted({n for n in names if names.count(n) > 1}):
            yield Mistake(0, key, f"{twice} stands there twice", "one entry for each node")
        for twice in sorted({end for end in ends if ends.count(end) > 1}):
            yield Mistake(0, key, f"{' and '.join(n for n, end in zip(names, ends) if end == twice)} are both {twice}", "a host of its own for each node")
        if "nodes" not in bad:
            for stranger in [n for n in names if n not in p.nodes]:
                yield Mistake(0, key, f"{stranger} is none of nodes ({', '.join(p.nodes)})", "name a node of the cluster")
            lacking = [n for n in p.nodes if n not in names]
            if key == "hosts" and lacking and "hosts" not in bad:
                yield Mistake(
                    0, key, f"no host for {', '.join(lacking)}", f"add {', '.join(f'{n}=USER@ADDRESS' for n in lacking)}, or take the name out of nodes"
                )
    for entry in p.private_addresses:
        try:
            ipaddress.IPv4Address(entry.partition("=")[2])
        except ValueError:
            yield Mistake(0, "private_addresses", f"{entry}: not an IPv4 address", "such as sw1=10.0.0.11")
    if not p.ssh_key_file and "ssh_key_file" not in bad:
        yield Mistake(
            0, "ssh_key_file", "your hosts let in a key that you have, and none is named", "the private key that they know, such as ~/.ssh/id_ed25519"
        )
