"""Phase 03, first half: the Docker Engine of each node, its settings and its API over mutual TLS."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.cluster import Endpoint, Node
from swarmbook.access.hosts import Host
from swarmbook.access.pki import Leaf, reason_to_renew
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, SwarmbookError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book, Change, Prospect, StepResult, converge
from swarmbook.model.checks import Check, equal
from swarmbook.params import ParamView
from swarmbook.phases.engine.settings import (
    DRIVER_FACTS,
    FOLDER,
    SETTINGS,
    drop_in_for,
    merge_settings,
    refuse_driver,
    settings_for,
)
from swarmbook.phases.support.systems import OS_RELEASE, install_engine, read_os_release

__all__ = ["Engine", "Wanted", "configure", "plan_engine"]

_BEFORE = f"{SETTINGS}.before-swarmbook"
#: Says what the engine was before the book came: absent, stopped or running.
RECORD = "/etc/swarmbook/engine-before"
_DROP_IN = "/etc/systemd/system/docker.service.d/swarmbook.conf"


@dataclass(frozen=True)
class Engine:
    """A node's engine as it is.

    Args:
        version: Of the installed engine, or nothing.
        active: Whether the service runs.
        enabled: Whether it starts at boot.
        start_line: ``ExecStart`` of the packaged unit.
        settings: Text of daemon.json.
        drop_in: Text of our drop-in.
        certificate: PEM of the API's certificate.
        authority: PEM of the CA that clients of the API must come from.
        key: SHA-256 of the certificate's key file.
        nameservers: Name servers of the node itself.
        driver: Storage driver of the running engine.
        labels: Labels of the running engine.
        api: What our client and a stranger got from the API; empty when it was not asked.
        release: The node's os-release.
        under: What its data would lie on: file system, ``ftype=0`` where xfs lacks it, ``pool`` where there is a thin pool.
    """

    version: str = ""
    active: bool = False
    enabled: bool = False
    start_line: str = ""
    settings: str = ""
    drop_in: str = ""
    certificate: str = ""
    authority: str = ""
    key: str = ""
    nameservers: tuple[str, ...] = ()
    driver: str = ""
    labels: tuple[str, ...] = ()
    api: str = ""
    release: Mapping[str, str] = field(default_factory=dict)
    under: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What one node's engine should be set to."""

    node: Node
    authority: bytes
    leaf: Leaf = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Names its certificate carries."""
        return api_names(self.node)


def api_names(node: Node) -> list[str]:
    """Subject alternative names of an engine's certificate: name, private, public, loopback."""
    return list(dict.fromkeys([node.name, node.private_address, node.public_address, "127.0.0.1"]))


_PROBE = f"""
{OS_RELEASE}
b64() {{ base64 -w0 "$1" 2>/dev/null || true; }}
unit=$(systemctl show -p FragmentPath --value docker.service 2>/dev/null)
cat <<END
{{"version": "$(dockerd --version 2>/dev/null | sed -n 's/^Docker version \\([^,]*\\),.*/\\1/p')",
 "active": $(systemctl is-active -q docker.service && echo true || echo false),
 "enabled": $(systemctl is-enabled -q docker.service 2>/dev/null && echo true || echo false),
 "start_line": "$([ -n "$unit" ] && sed -n 's/^ExecStart=//p' "$unit" | head -n 1)",
 "settings": "$(b64 {SETTINGS})", "drop_in": "$(b64 {_DROP_IN})", "certificate": "$(b64 {FOLDER}/cert.pem)",
 "authority": "$(b64 {FOLDER}/ca.pem)", "key": "$(sha256sum {FOLDER}/key.pem 2>/dev/null | cut -d' ' -f1)",
 "nameservers": "$(sed -n 's/^nameserver *//p' /etc/resolv.conf | tr '\\n' ' ')",
 "info": $(systemctl is-active -q docker.service && docker info --format '{{{{json .}}}}' 2>/dev/null || echo null)}}
END
{DRIVER_FACTS}
"""


def _observe(book: Book) -> Mapping[str, Engine]:
    def one(host: Host) -> Engine:
        answer = host.run(_PROBE).stdout.splitlines()
        told = [line for line in answer if line.startswith(("os: ", "under: "))]
        data = json.loads("\n".join(line for line in answer if line not in told))
        info = data.pop("info") or {}
        for key in ("settings", "drop_in", "certificate", "authority"):
            data[key] = base64.b64decode(data[key]).decode(errors="replace")
        data["nameservers"] = tuple(data["nameservers"].split())
        # In a prospect 02 may have yet to mount the disk.
        under = tuple(line[7:] for line in told if line.startswith("under: ")) if book.prospect is None else ()
        engine = Engine(
            **data,
            driver=info.get("Driver", ""),
            labels=tuple(info.get("Labels") or ()),
            release=read_os_release(told),
            under=under,
        )
        ready = engine.active and engine.certificate and (book.cluster.pki_folder / "client.pem").exists()
        return Engine(**{**engine.__dict__, "api": _ask_api(book, host.node)}) if ready else engine

    return book.fleet.each(one)


def _ask_api(book: Book, node: Node) -> str:
    """What our client gets, and what one without a certificate of our CA gets."""
    try:
        book.engine(node.name).ping()
    except SwarmbookError as error:
        return f"refused us: {error.seen}"
    return (
        "answers us, refuses strangers"
        if _refuses_strangers(book.reach(node.name, book.params.docker_api_port))
        else "answers strangers too"
    )


def _refuses_strangers(end: Endpoint) -> bool:
    import socket

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # a stranger asks: what matters is what he is told
    try:
        with socket.create_connection((end.host, end.port), timeout=10) as raw, context.wrap_socket(raw) as stranger:
            stranger.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return not stranger.recv(1)
    except OSError:  # an alert: certificate required
        return True


def plan_engine(params: ParamView, wanted: Mapping[str, Wanted], seen: Mapping[str, Engine]) -> list[Change]:
    """Changes that bring every engine to its settings; pure.

    Raises:
        WorldError: A daemon.json cannot be merged into, the storage driver has nothing to stand on, or the engine cannot be had.
    """
    changes: list[Change] = []
    for name, engine in seen.items():
        target = wanted[name]
        start = len(changes)
        refuse_driver(name, params.storage_driver, engine.version, engine.under)
        if not engine.version:
            whose = " from Docker's repository" if params.docker_source == "docker" else ""
            commands = install_engine(
                name, engine.release or {"ID": "debian", "VERSION_CODENAME": "stable"}, params.docker_source
            )
            changes.append(Change(name, "install", f"engine installed{whose}", {"commands": commands}))
        reason = reason_to_renew(
            engine.certificate.encode(), target.authority, target.names, params.certificate_renew_days
        )
        beside = (engine.authority.encode(), engine.key) == (
            target.authority,
            hashlib.sha256(target.leaf.key).hexdigest(),
        )
        if engine.certificate.encode() != target.leaf.certificate or not beside:
            changes.append(
                Change(
                    name,
                    "certificate",
                    f"certificate put in place ({reason or ('another one was issued' if beside else 'its key or its CA is gone')})"
                    if engine.certificate
                    else "certificate put in place",
                )
            )
        merged = merge_settings(name, engine.settings, settings_for(params, target.node, engine.nameservers))
        if engine.settings != merged:
            changes.append(
                Change(
                    name,
                    "settings",
                    "daemon.json merged",
                    {
                        "content": merged,
                        "first": not engine.drop_in,
                        "was": "running" if engine.active else "stopped" if engine.version else "absent",
                    },
                )
            )
        if not engine.start_line or engine.drop_in != drop_in_for(engine.start_line, params.docker_api_port):
            changes.append(Change(name, "listen", f"API on port {params.docker_api_port}"))
        if not engine.enabled:
            changes.append(Change(name, "enable", "starts at boot"))
        if len(changes) > start and engine.active:
            changes.append(Change(name, "start", "engine restarted", {"restart": True}))
        elif not engine.active:
            changes.append(Change(name, "start", "engine started", {"restart": False}))
    return changes


def _apply(book: Book, wanted: Mapping[str, Wanted], changes: list[Change]) -> None:
    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)

    def prepare(host: Host) -> None:
        target = wanted[host.name]
        for change in by_host[host.name]:
            if change.action == "install":
                for command in change.data["commands"]:
                    host.run(command, timeout_s=book.params.wait_timeout)
            elif change.action == "certificate":
                host.put(f"{FOLDER}/ca.pem", target.authority)
                host.put(f"{FOLDER}/key.pem", target.leaf.key, mode=0o600)
                host.put(f"{FOLDER}/cert.pem", target.leaf.certificate)
            elif change.action == "settings":
                if change.data["first"]:  # what 90 puts back
                    host.run(
                        f"mkdir -p {RECORD.rpartition('/')[0]}; [ -e {RECORD} ] || echo {change.data['was']} > {RECORD}; [ ! -e {SETTINGS} ] || cp -n {SETTINGS} {_BEFORE}"
                    )
                host.put(SETTINGS, change.data["content"])
            elif change.action == "listen":
                line = host.run(
                    "sed -n 's/^ExecStart=//p' \"$(systemctl show -p FragmentPath --value docker.service)\" | head -n 1"
                ).stdout.strip()
                host.put(_DROP_IN, drop_in_for(line, book.params.docker_api_port))
            elif change.action == "enable":
                host.run("systemctl enable -q docker.service")
        if any(change.action == "start" and not change.data["restart"] for change in by_host[host.name]):
            _start(book, host)

    book.fleet.each(prepare, by_host)
    # One after the other, and each with its tasks well again before the next goes: two managers, two Consul servers or
    # two Galera members away at once may be one too many.
    for name in [change.host for change in changes if change.action == "start" and change.data["restart"]]:
        _restart(book, book.fleet[name])


_SERVICES = "docker ps --filter label=com.docker.swarm.service.name --format '{{.Label \"com.docker.swarm.service.name\"}} {{.Status}}'"


def _restart(book: Book, host: Host) -> None:
    """Restart an engine; ends when every task that ran there runs again, and is healthy where it has a healthcheck."""
    before = {line.split()[0] for line in host.run(_SERVICES, check=False).stdout.splitlines()}
    # In good order, with the time each asks for: the engine itself gives its containers 15 s and then kills them.
    host.run(
        "docker ps -q --filter label=com.docker.swarm.service.name | xargs -r docker stop >/dev/null",
        check=False,
        timeout_s=book.params.wait_timeout,
    )
    _start(book, host)

    def well() -> tuple[bool, str]:
        now = dict(line.split(" ", 1) for line in host.run(_SERVICES, check=False, quiet=True).stdout.splitlines())
        late = [
            f"{name}: {now.get(name, 'not started')}"
            for name in sorted(before)
            if name not in now or "starting" in now[name] or "unhealthy" in now[name]
        ]
        return not late, "; ".join(late)

    wait_for(
        f"the tasks on {host.name} run again",
        well,
        timeout_s=book.params.wait_timeout,
        where=host.name,
        next=f"swarmbook ssh {host.name} docker ps -a",
    )


def _start(book: Book, host: Host) -> None:
    """Start an engine; one that its package has just started, on settings not yet ours, starts anew."""
    # Engines that failed before have used up the starts that systemd allows.
    done = host.run(
        "systemctl daemon-reload && systemctl reset-failed docker.service docker.socket 2>/dev/null; systemctl restart docker.service",
        check=False,
        timeout_s=book.params.wait_timeout,
    )
    if not done.ok:
        log = host.run(
            "journalctl -u docker.service -n 30 --no-pager -o cat | grep -iE 'fail|error|unable|invalid' | tail -n 5",
            check=False,
        ).stdout
        raise EngineUnavailable(
            f"the engine on {host.name} does not start",
            where=f"{host.name}: systemctl restart docker",
            wanted="docker.service active",
            seen=log.strip() or done.stderr.strip(),
            next=f"swarmbook ssh {host.name} journalctl -u docker -n 50; after mending it: swarmbook run PARAMS --from 03",
            code=Code.ENGINE_DOES_NOT_START,
        )
    wait_for(
        f"the engine's API on {host.name} answers",
        lambda: _try_api(book, host.name),
        timeout_s=min(60, book.params.wait_timeout),
        where=host.name,
        next=f"swarmbook ssh {host.name} journalctl -u docker -n 50",
    )


def _try_api(book: Book, name: str) -> tuple[bool, str]:
    try:
        book.engine(name).ping()
    except SwarmbookError as error:
        return False, str(error.seen)
    except OSError as error:
        return False, str(error)
    return True, "answers"


def _ahead(prospect: Prospect, seen: Mapping[str, Engine], changes: list[Change]) -> None:
    """An engine that the book has never set up holds nothing of ours; one that it has, and that does not run, may hold anything."""
    prospect.absent |= {name for name, engine in seen.items() if not engine.drop_in}
    down = [name for name, engine in seen.items() if engine.drop_in and not engine.api.startswith("answers")]
    if down:
        prospect.unknown = (
            f"the engine of {', '.join(down)} does not answer before 03 has run (swarmbook run PARAMS --only 03)"
        )


def configure(book: Book) -> StepResult:
    """Install the engine where it is missing, merge its settings, put its API behind mutual TLS, start it."""
    nodes, authority = book.nodes, book.authority  # the nodes first: out of order, nothing is made
    book.leaf("client", ["swarmbook"])
    wanted = {
        node.name: Wanted(node, authority.certificate, book.leaf(f"engine-{node.name}", api_names(node)))
        for node in nodes
    }

    def verify(params: ParamView, seen: Mapping[str, Engine]) -> list[Check]:
        rows = []
        for name, engine in seen.items():
            labels = {f"dc={params.datacenter}", f"instance_type={params.instance_type}"}
            rows += [
                Check(
                    name,
                    "engine",
                    "running, starts at boot",
                    f"{engine.version} {'running' if engine.active else 'stopped'}{', starts at boot' if engine.enabled else ''}",
                    engine.active and engine.enabled,
                ),
                equal(name, "storage driver", params.storage_driver, engine.driver),
                Check(
                    name,
                    "labels",
                    " ".join(sorted(labels)),
                    " ".join(sorted(engine.labels)),
                    labels <= set(engine.labels),
                ),
                equal(
                    name,
                    f"API on {shlex.quote(str(params.docker_api_port))} (mutual TLS)",
                    "answers us, refuses strangers",
                    engine.api or "was not there to ask",
                ),
            ]
        return rows

    return converge(
        book,
        observe=_observe,
        plan=lambda params, seen: plan_engine(params, wanted, seen),
        apply=lambda book, seen, changes: _apply(book, wanted, changes),
        verify=verify,
        what="Docker Engine",
        suppose=lambda book, seen: {name: (seen or {}).get(name) or Engine() for name in book.params.nodes},
        ahead=_ahead,
    )
