"""Plans as data: each file in plans/PHASE/ is parameters and an observed state, and the exact changes that follow.

``wanted`` in a file stands for what would be wanted there by the parameters, ``{but: ...}`` for that with differences.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from swarmbook.access.docker_types import SwarmNode
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.pki import Authority, Leaf, Use
from swarmbook.base import errors
from swarmbook.base.secrets import Secret
from swarmbook.model.change import Change
from swarmbook.model.health import EngineBefore, Role, SwarmState
from swarmbook.params import Params
from swarmbook.phases import destroy, endpoint, galera, watch
from swarmbook.phases.consul import config as consul_config
from swarmbook.phases.consul import step as consul
from swarmbook.phases.consul.gossip import key_mark
from swarmbook.phases.consul.probe import Listener, NodeState
from swarmbook.phases.destroy.remains import Remains
from swarmbook.phases.endpoint import step as front
from swarmbook.phases.endpoint.agents import Says
from swarmbook.phases.engine import step as engine
from swarmbook.phases.engine.api import api_names
from swarmbook.phases.engine.probe import Engine
from swarmbook.phases.engine.settings import drop_in_for, merge_settings, settings_for
from swarmbook.phases.galera.members import Galera, Member, Position, Wsrep
from swarmbook.phases.galera.stack import Parts
from swarmbook.phases.overlay import step as overlay
from swarmbook.phases.post_provision import disks, software
from swarmbook.phases.post_provision.disk_probe import Disk
from swarmbook.phases.scale.extent import Extent
from swarmbook.phases.scale.plan import plan_scale
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_tokens import Token
from swarmbook.phases.support.wall import FILES, Wall, sum_of
from swarmbook.phases.swarm import step as swarm
from swarmbook.phases.swarm.probe import Local
from swarmbook.phases.swarm.state import Swarm
from swarmbook.phases.walls import step as walls
from swarmbook.phases.watch import services
from swarmbook.phases.watch import step as watching
from swarmbook.show.changes import sentence

from ..purity import no_side_effects

PLANS = Path(__file__).parent / "plans"
Plan = Callable[[], list[Change]]
MakeNode = Callable[..., Node]


def cases(phase: str) -> list[Any]:
    return [pytest.param(file, id=file.stem) for file in sorted((PLANS / phase).glob("*.yaml"))]


def as_case(change: Change) -> dict[str, Any]:
    """A change as a case writes it: what is empty is left out."""
    whole = {
        "host": change.host,
        "action": change.action.value,
        "things": list(change.things),
        "word": change.word.value if change.word else "",
        "because": change.because,
    }
    return {key: value for key, value in whole.items() if value}


def check(file: Path, phase: str, prepare: Callable[[Params, Any], Plan]) -> None:
    """Plan one case and compare all of it: the things and the word, too. A plan is pure, and the same each time."""
    case = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(case) <= {"case", "params", "observed", "changes", "error", "says"}, "a key that no test reads"
    plan = prepare(cast("Params", Params(**case.get("params", {})).view(phase)), case)
    if "error" in case:
        with pytest.raises(getattr(errors, case["error"])) as caught:
            plan()
        missing = [words for words in case["says"] if words not in str(caught.value)]
        assert not missing, str(caught.value)
        assert caught.value.next
        return
    changes = plan()
    assert [as_case(change) for change in changes] == case["changes"]
    with no_side_effects():
        assert plan() == changes
    assert all(sentence(change) for change in changes)


def test_every_phase_is_read() -> None:
    assert {folder.name for folder in PLANS.iterdir() if folder.is_dir()} == {
        "storage",
        "packages",
        "engine",
        "swarm",
        "consul",
        "overlay",
        "walls",
        "galera",
        "election",
        "endpoint",
        "watch",
        "destroy",
        "scale",
    }


# Words for what cases often hold; `kernel` and `content` are lists of them.
LVM = ["gpt:swarmbook-docker", "LVM2_member", "vg:docker"]


def disk(raw: Mapping[str, Any]) -> Disk:
    """A disk as a case tells it: 10 GiB in a machine with everything in its kernel; `done` stands for mounted as wanted."""
    fields = {"device": "/dev/disk/second", "size": 10 * 2**30, "kernel": ["btrfs", "xfs", "dm", "thin"], **raw}
    if (options := fields.pop("done", "")) and isinstance(options, str):
        fields |= {
            "uuid": "u1",
            "mounts": ["/var/lib/docker"],
            "options": f"rw,{options}",
            "fstab": f"{options},nofail,x-swarmbook",
            "guard": True,
            **raw,
        }
        fields.pop("done")
    if isinstance(content := fields.get("content"), str):
        fields["content"] = [*LVM, *content.split()[1:]] if content.startswith("LVM ") else [content]
    if fields.get("content") and str(fields["content"][-1]).endswith(" (unfinished)"):
        fields |= {
            "content": [*fields["content"][:-1], fields["content"][-1].removesuffix(" (unfinished)")],
            "unfinished": True,
        }
    return Disk(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


@pytest.mark.parametrize("file", cases("storage"))
def test_storage(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        seen = {name: disk(raw) for name, raw in case["observed"].items()}
        return lambda: disks.lay_out.plan(disks.wanted_disks(params, seen), seen)

    check(file, "02", prepare)


@pytest.mark.parametrize("file", cases("packages"))
def test_packages(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        systems = {
            name: software.System(
                raw["release"],
                tuple(raw.get("installed", ())),
                raw.get("updates", 0),
                raw.get("lists_age", 60 if params.system_update else None),
                disk(raw.get("disk", {})),
            )
            for name, raw in case["observed"].items()
        }
        return lambda: software.system.plan(software.wanted_packages(params, systems), systems)

    check(file, "02", prepare)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Authority, Leaf]]:
    """An authority by name, and a leaf of it for a node's engine."""
    folder = tmp_path_factory.mktemp("pki")

    def make(
        node: Node, authority: str = "ours", days: int = 365, names: list[str] | None = None
    ) -> tuple[Authority, Leaf]:
        ca = Authority(folder / authority, "swarmbook lab CA")
        return ca, ca.leaf(
            f"{node.name}-{days}-{len(names or [])}",
            api_names(node) if names is None else names,
            Use.SERVER,
            life=timedelta(days=days),
            renew=timedelta(0),
        )

    return make


@pytest.mark.parametrize("file", cases("engine"))
def test_engine(file: Path, node: MakeNode, pki: Callable[..., tuple[Authority, Leaf]]) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        leaves, seen = {}, {}
        for name, raw in case["observed"].items():
            machine = node(name)
            authority, leaf = pki(machine)
            leaves[name] = (machine, leaf)
            certificates = {
                None: "", "wanted": leaf.certificate.decode(), "nonsense": "nonsense",
                "another ca": pki(machine, "theirs")[1].certificate.decode(), "near its end": pki(machine, days=9)[1].certificate.decode(),
                "other names": pki(machine, names=["old"])[1].certificate.decode(),
            }  # fmt: skip
            nameservers = tuple(raw.get("nameservers", ("192.0.2.53",)))
            ours = settings_for(params, machine, nameservers)
            settings = raw.get("settings", "")
            if settings == "wanted":
                settings = merge_settings(name, "", ours)
            elif isinstance(settings, Mapping):
                settings = (
                    merge_settings(name, json.dumps(settings["but"]), ours)
                    if "but" in settings
                    else json.dumps(dict(settings))
                )
            start_line = raw.get("start_line", "")
            api = Endpoint(machine.private_address, params.docker_api_port)
            drop_in = drop_in_for(start_line, api) if raw.get("drop_in") == "wanted" else raw.get("drop_in", "")
            beside = (
                {"authority": authority.certificate.decode(), "key": hashlib.sha256(leaf.key).hexdigest()}
                if raw.get("certificate")
                else {}
            )
            changed = {
                "settings": settings,
                "drop_in": drop_in,
                "certificate": certificates[raw.get("certificate")],
                "nameservers": nameservers,
                **beside,
            }
            changed |= {key: raw[key] for key in ("authority", "key") if key in raw}
            changed["swarm"] = SwarmState.read(raw.get("swarm", "active" if raw.get("drop_in") else "inactive"))
            seen[name] = Engine(**{**raw, **changed})

        def plan() -> list[Change]:
            targets = {
                name: engine.configure._target(params, machine, seen[name], leaf)
                for name, (machine, leaf) in leaves.items()
            }
            wanted = engine.Wanted(params, authority.certificate, authority.bundle, targets)
            return engine.configure.plan(wanted, seen)

        return plan

    check(file, "03", prepare)


@pytest.mark.parametrize("file", cases("swarm"))
def test_swarm(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        seen = case["observed"]
        defaults = {"state": "ready", "availability": "active", "manager": "", "engine": "26.1"}
        nodes = {
            id: SwarmNode(**{"id": id, **defaults, **raw, "role": Role(raw["role"])})
            for id, raw in seen.get("members", {}).items()
        }
        routes = {name: tuple(found) for name, found in seen.get("routes", {}).items()}
        local = {
            name: Local(SwarmState.read(state), id, routes=routes.get(name, ()))
            for name, (state, id) in seen["local"].items()
        }
        kept = {"heartbeat_s": 20.0} | {
            key: seen[key] for key in ("autolock", "key_is_kept", "heartbeat_s") if key in seen
        }
        return partial(swarm.form.plan, params, Swarm(local, nodes, seen.get("id", ""), **kept))

    check(file, "03", prepare)


@pytest.mark.parametrize("file", cases("consul"))
def test_consul(file: Path, node: MakeNode) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        observed = case["observed"]
        roles = {name: state.get("role", "server") for name, state in observed["nodes"].items()}
        servers = [node(name).private_address for name, role in roles.items() if role == "server"]
        files = ("tokens.json", "ca.pem", "cert.pem", "key.pem")
        document = consul_config.document("lab", "swarmbook/consul:x", "consul-server-1", "consul-client-1")
        configs = {
            name: consul_config.agent_config(params, node(name), role, servers, ("192.0.2.53",), True)
            for name, role in roles.items()
        }
        private = {name: {file: f"{name} {file}".encode() for file in files} for name in roles}
        tokens = {
            name: Token(name, f"rules of {name}", Secret(name, f"token {name}"), f"{name} rules token")
            for name in ("dns", *(f"agent-{name}" for name in roles))
        }
        gossip = Secret("gossip", "the gossip key")
        secrets = {"consul-server-1": "-", "consul-client-1": "-"}
        accepted = params.consul_source == "debian"
        wanted = consul_config.Wanted("lab", document, configs, private, secrets, tokens, gossip, open_raft=accepted)
        nodes = {}
        for name, state in observed["nodes"].items():
            raw = {key: value for key, value in state.items() if key not in ("role", "stale")}
            if raw.get("config") == "wanted":
                raw["config"] = configs[name]
            elif "but" in raw.get("config", {}):
                raw["config"] = {**configs[name], **raw["config"]["but"]}
            if raw.get("files") == "wanted":
                raw["files"] = {
                    file: hashlib.sha256(content).hexdigest()
                    for file, content in private[name].items()
                    if file not in state.get("stale", ())
                }
            if "listeners" in raw:
                raw["listeners"] = tuple(Listener.read(line) for line in raw["listeners"])
            nodes[name] = NodeState(**raw)
        specs = {service: spec["deploy"]["labels"][stack.SPEC_LABEL] for service, spec in document["services"].items()}
        specs = specs if observed.get("specs") == "wanted" else observed.get("specs", {})
        have = secrets if observed.get("secrets") == "wanted" else observed.get("secrets", ())
        have = [*have, *observed.get("more_secrets", ())]
        known = tokens if observed.get("tokens") == "wanted" else observed.get("tokens", ())
        marks = frozenset(tokens[name].mark if name in tokens else name for name in known)
        keys = frozenset(key_mark(gossip.reveal() if key == "wanted" else key) for key in observed.get("keys", ()))
        leader, let_in, version = (
            observed.get("leader", ""),
            observed.get("let_in", True),
            tuple(observed.get("version", ())),
        )
        agents = consul.Agents(nodes, specs, frozenset(have), leader, let_in, marks, keys, version=version)
        return partial(consul.deploy.plan, wanted, agents)

    check(file, "04", prepare)


@pytest.mark.parametrize("file", cases("overlay"))
def test_overlay(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        observed = dict(case["observed"])
        there = overlay.Network(params.overlay_network, **observed.pop("network")) if "network" in observed else None
        seen = overlay.Overlay(**observed, network=there)
        return partial(overlay.create.plan, overlay.wanted_network(params, seen), seen)

    check(file, "06", prepare)


@pytest.mark.parametrize("file", cases("walls"))
def test_walls(file: Path, node: MakeNode) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        nodes = [node(name) for name in params.nodes]
        there = {
            name: Wall(databases={port: tuple(of) for port, of in raw.pop("databases", {}).items()})
            for name, raw in case["observed"].items()
        }
        wanted = walls.wanted_walls(params, nodes, there)
        seen = {}
        for name, raw in case["observed"].items():
            state = dict(raw)
            if state.pop("stands", False):
                whole = {
                    "rules": sum_of(wanted.rules[name]),
                    "loaded": True,
                    "intact": True,
                    "boots": True,
                    "files": FILES,
                }
                state = {**whole, **state}
            seen[name] = Wall(
                **{key: tuple(value) if isinstance(value, list) else value for key, value in state.items()}
            )
        return partial(walls.build.plan, wanted, seen)

    check(file, "03", prepare)


SYNCED = Wsrep("Synced", "Primary", ready=True)


@pytest.mark.parametrize("file", cases("galera"))
def test_galera(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        observed = case["observed"]
        services = {name: stack.stamp("lab", {"image": name}) for name in observed["members"]}
        made = Parts(params, "lab", services, {"galera-consul-token-1": b"-"}, ("galera-settings-1", ""), {})
        members = {}
        for name, raw in observed["members"].items():
            state = {"image": True, "folder": True, **(raw or {})}
            if state.pop("serves", False):
                state = {
                    "data": True,
                    "bootstrapped": name == next(iter(services)),
                    "spec": "wanted",
                    "running": True,
                    "healthy": True,
                    "wsrep": SYNCED,
                    **state,
                }
            if state.get("spec") == "wanted":
                state["spec"] = services[name]["deploy"]["labels"][stack.SPEC_LABEL]
            if isinstance(state.get("wsrep"), dict):
                state["wsrep"] = Wsrep(**{"component": "", **state["wsrep"]})
            if isinstance(state.get("position"), str):
                uuid, _, seqno = state["position"].partition(":")
                state["position"] = Position(uuid, int(seqno))
            members[name] = Member(**state)
        there = observed.get("there", True)
        have = [*(made.secrets if there else ()), *observed.get("more_secrets", ())]
        seen = Galera(
            members,
            frozenset(have),
            frozenset([made.settings[0]] if there else ()),
            there,
            left_out=tuple(observed.get("left_out", ())),
        )
        return partial(galera.bootstrap.plan, made, seen)

    check(file, "07", prepare)


@pytest.mark.parametrize("file", cases("election"))
def test_election(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        seen = {name: Says(f"c{name}", **raw) for name, raw in case["observed"].items()}
        return partial(endpoint.elect.plan, params, seen)

    check(file, "20", prepare)


@pytest.mark.parametrize("file", cases("endpoint"))
def test_endpoint(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        observed = dict(case["observed"])
        wanted = front.wanted_endpoint(params, "lab", "swarmbook/haproxy:x")
        for change in case.get("changes", ()):  # a config's name ends with the hash of its content
            change["things"] = [
                next(name for name in wanted.settings if name.startswith(thing[: -len("CONFIG")])) if thing.endswith("-CONFIG") else thing
                for thing in change["things"]
            ]  # fmt: skip
        if observed.get("configs") == "wanted":
            observed["configs"] = frozenset(wanted.settings)
        if observed.get("specs") == "wanted":
            observed["specs"] = wanted.specs
        observed["lacking"] = tuple(observed.get("lacking", ()))
        observed["prepared"] = frozenset(observed.get("prepared", params.nodes))
        return partial(endpoint.deploy.plan, wanted, front.Endpoint(**observed))

    check(file, "20", prepare)


@pytest.mark.parametrize("file", cases("watch"))
def test_watch(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        observed = dict(case["observed"])
        tags = {name: f"swarmbook/{name}:1-2" for name in ("exporters", "prometheus")}
        secrets = {part: f"galera-watch-{part}-aaaaaaaaaa" for part in ("reads", "registers", "my-cnf")}
        configs = {part: f"galera-watch-{part}-0" for part in ("prometheus", "rules", "ca")}
        wanted = services.Wanted(
            params,
            services.document(params, "lab", tags, secrets, configs),
            dict.fromkeys(configs.values(), "text"),
            dict.fromkeys(secrets.values(), "secret"),
            {node: services.node_line(node, "192.0.2.1", 8501, "manager") for node in params.nodes},
            services.image_nodes(params),
            tags,
        )
        for key, names in (("secrets", secrets), ("configs", configs)):
            given = observed.get(key, ())
            observed[key] = frozenset(names.values() if given == "wanted" else given)
        if observed.get("specs") == "wanted":
            observed["specs"] = wanted.specs
        nodes = {}
        for node, raw in observed["nodes"].items():
            line = wanted.lines[node] if raw.get("line") == "wanted" else raw.get("line", "")
            nodes[node] = watching.OnNode(line, frozenset(raw.get("running", ())), raw.get("healthy", False))
        observed["prepared"] = frozenset(observed.get("prepared", params.nodes))
        lacking = {node: tuple(those) for node, those in observed.get("lacking", {}).items()}
        return partial(watch.deploy.plan, wanted, watching.Watch(**{**observed, "nodes": nodes, "lacking": lacking}))

    check(file, "24", prepare)


@pytest.mark.parametrize("file", cases("destroy"))
def test_destroy(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        remains = {
            name: Remains(
                **{
                    key: tuple(value) if isinstance(value, list) else EngineBefore(value) if key == "before" else value
                    for key, value in (raw or {}).items()
                }
            )
            for name, raw in case["observed"].items()
        }
        return partial(destroy.destroy.plan, None, remains)

    check(file, "90", prepare)


def extent(raw: Mapping[str, Any]) -> Extent:
    """What there is as a case tells it: `swarm` gives a node's role and its Consul agent, `members` a member's state."""
    nodes = {}
    for name, words in raw["swarm"].items():
        role, _, agent = words.partition(" ")
        labels = {"name": name, **({"consul": agent} if agent else {})}
        nodes[name] = SwarmNode(f"id-{name}", name, Role(role), "ready", "active", "", "26.1", labels)
    members: dict[str, Member | None] = {}
    for name, state in raw.get("members", {}).items():
        wsrep = Wsrep(state, "Primary", True, len(raw["members"]), "u")
        members[name] = Member(running=True, healthy=state == "Synced", spec="s", wsrep=wsrep) if state else None
    peers = frozenset(raw.get("peers", [name for name, node in nodes.items() if node.labels.get("consul") == "server"]))
    return Extent(
        tuple(raw.get("leaving", ())), nodes, members, raw.get("strangers", {}), peers,
        tuple((name, thing) for name, things in raw.get("parts", {}).items() for thing in things),
        tuple(raw.get("secrets", ())), tuple(raw.get("gone", ())),
    )  # fmt: skip


@pytest.mark.parametrize("file", cases("scale"))
def test_scale(file: Path) -> None:
    def prepare(params: Params, case: Any) -> Plan:
        seen = extent(case["observed"])
        return lambda: plan_scale(params, seen)

    check(file, "21", prepare)
