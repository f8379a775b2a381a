"""Phase 03, first third: the Docker Engine of each node, its settings and its API over mutual TLS."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from swarmbook.access.commands import Script, sh
from swarmbook.access.hosts import Host
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.pki import Authority, Leaf, Purpose, Use, reason_to_renew
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, ForeignData, SwarmbookError
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, by_host, refuse_unknown
from swarmbook.model.checks import Check, equal
from swarmbook.model.health import EngineBefore, SwarmState
from swarmbook.model.material import Kind, Material, found
from swarmbook.params import Params
from swarmbook.phases.engine.api import api_address, api_names, ask_api
from swarmbook.phases.engine.probe import DROP_IN, ENGINE, Engine
from swarmbook.phases.engine.restart import bring_up, does_not_start, restart
from swarmbook.phases.engine.settings import (
    FOLDER,
    SETTINGS,
    drop_in_for,
    merge_settings,
    refuse_driver,
    settings_for,
)
from swarmbook.phases.engine.undo import MISTAKEN, TAKE_BACK, VALIDATE, keep_undo
from swarmbook.phases.support.autolock import unlock_manager
from swarmbook.phases.support.engine_data import MOUNT_POINT
from swarmbook.phases.support.passing import run_with_packages
from swarmbook.phases.support.systems import install_engine

__all__ = ["Target", "Wanted", "configure"]

_BEFORE = f"{SETTINGS}.before-swarmbook"
#: Says what the engine was before the book came (:class:`EngineBefore`).
_RECORD = "/etc/swarmbook/engine-before"


@dataclass(frozen=True)
class Target:
    """What one node's engine should be set to.

    Args:
        node: The node.
        leaf: Its API's certificate and key.
        settings: Text of daemon.json; what is not ours in it stays.
        drop_in: Text of the unit's drop-in; None while no engine is installed, whose start line it would hold.
        commands: Commands that install the engine; empty where one is installed.
    """

    node: Node
    leaf: Leaf = field(repr=False)
    settings: str = ""
    drop_in: str | None = None
    commands: tuple[Script, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What every engine should be set to.

    Args:
        params: The parameters.
        issuer: PEM of the generation of the engines' CA that signs.
        trusted: PEM of all generations of it that an engine trusts.
        targets: By node.
    """

    params: Params
    issuer: bytes
    trusted: bytes
    targets: Mapping[str, Target]


class Configure(Step[Mapping[str, Engine], Wanted]):
    """Install the engine where it is missing, merge its settings, put its API behind mutual TLS, start it."""

    name = "Docker Engine"

    def observe(self, book: Book) -> Mapping[str, Engine]:
        # The nodes first: out of order, the inventory says so.
        known = bool(book.nodes) and Authority.there(book.cluster.pki_folder / Purpose.ENGINE.value)

        def one(host: Host) -> Engine:
            engine = host.ask(ENGINE)
            ready = known and engine.active and engine.certificate
            return replace(engine, api=ask_api(book, host.node)) if ready else engine

        return book.fleet.each(one)

    def want(self, book: Book, seen: Mapping[str, Engine]) -> Wanted:
        authority = book.authority(Purpose.ENGINE)
        nodes = {node.name: node for node in book.nodes}

        def leaf(name: str) -> Leaf:
            return book.leaf(Purpose.ENGINE, name, api_names(nodes[name]), Use.SERVER)

        targets = {name: self._target(book.params, nodes[name], engine, leaf(name)) for name, engine in seen.items()}
        return Wanted(book.params, authority.certificate, authority.bundle, targets)

    @staticmethod
    def _target(params: Params, node: Node, engine: Engine, leaf: Leaf) -> Target:
        _refuse_swarm(node.name, engine)
        refuse_driver(node.name, params.storage_driver, engine.version, engine.under)
        release = engine.release or {"ID": "debian", "VERSION_CODENAME": "stable"}
        return Target(
            node,
            leaf,
            merge_settings(node.name, engine.settings, settings_for(params, node, engine.nameservers), engine.options),
            _drop_in(params, node, engine.start_line) if engine.start_line else None,
            () if engine.version else tuple(install_engine(node.name, release, params.docker_source)),
        )

    def plan(self, wanted: Wanted, seen: Mapping[str, Engine]) -> list[Change]:
        changes = []
        for name, engine in seen.items():
            mine = _plan(wanted, wanted.targets[name], engine)
            if mine and engine.active:
                mine.append(Change(name, Action.RESTART))
            elif not engine.active:
                mine.append(Change(name, Action.START))
            elif engine.swarm is SwarmState.LOCKED:  # after a reboot, say; one that is started here is unlocked at once
                mine.append(Change(name, Action.UNLOCK))
            changes += mine
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Mapping[str, Engine], changes: list[Change]) -> None:
        hosts = by_host(changes)
        refuse_unknown([change for mine in hosts.values() for change in mine], _APPLY)

        def prepare(host: Host) -> None:
            for change in hosts[host.name]:
                _APPLY[change.action](book, host, wanted, seen[host.name])

        try:
            book.fleet.each(prepare, hosts)
            # One after the other, and each with its tasks well again before the next goes: two managers, two Consul servers
            # or two Galera members away at once may be one too many.
            for change in changes:
                if change.action is Action.RESTART:
                    restart(book, book.fleet[change.host], seen[change.host])
        except EngineUnavailable:
            # The others' turn has not come: what was written for it would count at their next reboot.
            with contextlib.suppress(SwarmbookError):  # why an engine does not start says more than this could
                book.fleet.each(lambda host: host.run(TAKE_BACK), hosts)
            raise

    def verify(self, wanted: Wanted, seen: Mapping[str, Engine]) -> list[Check]:
        params = wanted.params
        labels = {f"dc={params.datacenter}", f"instance_type={params.instance_type}"}
        rows = []
        for name, engine in seen.items():
            state = f"{engine.version} {'running' if engine.active else 'stopped'}"
            boots = ", starts at boot" if engine.enabled else ""
            fine = engine.active and engine.enabled
            has = labels <= set(engine.labels)
            rows += [
                Check(name, "engine", "running, starts at boot", f"{state}{boots}", fine),
                equal(name, "storage driver", params.storage_driver, engine.driver),
                Check(name, "labels", " ".join(sorted(labels)), " ".join(sorted(engine.labels)), has),
                equal(
                    name,
                    f"API on {params.docker_api_port} (mutual TLS)",
                    "answers us, refuses strangers",
                    engine.api or "was not there to ask",
                ),
            ]
        return rows

    def materials(self, book: Book, wanted: Wanted, seen: Mapping[str, Engine]) -> list[Material]:
        return [found(name, Kind.SERVER, "docker", engine.version) for name, engine in seen.items()]

    def assume(self, ahead: Forecast, params: Params, seen: Mapping[str, Engine] | None) -> Mapping[str, Engine]:
        # What its data lies on is for 02 to make: that may not have mounted the disk yet.
        return {name: replace((seen or {}).get(name) or Engine(), under=()) for name in params.nodes}

    def forecast(self, ahead: Forecast, seen: Mapping[str, Engine], changes: list[Change]) -> None:
        # An engine that the book has never set up holds nothing of ours; one that it has, and that does not run, may
        # hold anything.
        ahead.absent |= {name for name, engine in seen.items() if not engine.drop_in}
        down = [name for name, engine in seen.items() if engine.drop_in and not engine.api.startswith("answers")]
        locked = [change.host for change in changes if change.action is Action.UNLOCK]
        if locked:
            ahead.unknown = f"{subject(locked, 'is', 'are')} locked until 03 has run (swarmbook run PARAMS --only 03)"
        if down:
            ahead.unknown = (
                f"{subject(down, 'has an engine that does', 'have engines that do')} not answer before 03 has run "
                "(swarmbook run PARAMS --only 03)"
            )


configure = Configure()


def _refuse_swarm(name: str, engine: Engine) -> None:
    """Refuse an engine that the book has never set up and that is in a swarm already: that swarm belongs to its owner."""
    if engine.drop_in or engine.swarm in (SwarmState.INACTIVE, SwarmState.NONE):
        return
    raise ForeignData(
        f"the engine of {name} is in a swarm that the book has not formed; the engine was left alone",
        where=name,
        wanted="an engine in no swarm",
        seen=f"swarm: {engine.swarm}",
        next=f"if that swarm may go: swarmbook ssh {name} docker swarm leave --force; or take another host",
        code=Code.ENGINE_IN_A_SWARM,
    )


def _plan(wanted: Wanted, target: Target, engine: Engine) -> list[Change]:
    name, params = target.node.name, wanted.params
    changes = []
    if not engine.version:
        changes.append(Change(name, Action.INSTALL_ENGINE, (params.docker_source,)))
    names = api_names(target.node)
    beside = (engine.authority.encode(), engine.key) == (
        wanted.trusted,
        hashlib.sha256(target.leaf.key).hexdigest(),
    )
    if engine.certificate.encode() != target.leaf.certificate or not beside:
        renew = timedelta(days=params.certificate_renew_days)
        reason = reason_to_renew(engine.certificate.encode(), wanted.issuer, names, Use.SERVER, renew)
        why = reason or ("another one was issued" if beside else "its key or its CA is not as wanted")
        because = why if engine.certificate else ""
        changes.append(Change(name, Action.CERTIFICATE, tuple(names), because=because))
    if engine.settings != target.settings:
        changes.append(Change(name, Action.SETTINGS, (SETTINGS,)))
    if target.drop_in is None or engine.drop_in != target.drop_in:
        port = params.docker_api_port
        # Not the address itself: in a plan of machines that are still to come it is not known.
        where = "loopback" if target.node.tunnelled(port) else "private address"
        changes.append(Change(name, Action.LISTEN, (where, str(port))))
    if not engine.enabled:
        changes.append(Change(name, Action.ENABLE))
    return changes


def _drop_in(params: Params, node: Node, start_line: str) -> str:
    port = params.docker_api_port
    return drop_in_for(start_line, Endpoint(api_address(node, port), port))


# -- apply -------------------------------------------------------------------------------------------------------------


def _install(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    for command in wanted.targets[host.name].commands:
        run_with_packages(host, command, book.params.wait_timeout)


def _put_certificate(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    leaf = wanted.targets[host.name].leaf
    host.put(f"{FOLDER}/ca.pem", wanted.trusted)
    host.put(f"{FOLDER}/key.pem", leaf.key, mode=0o600)
    host.put(f"{FOLDER}/cert.pem", leaf.certificate)


def _put_settings(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    if not engine.drop_in:
        host.run(_keep_record(engine))
    host.run(keep_undo())
    host.put(SETTINGS, wanted.targets[host.name].settings)
    # While it still runs on what was there before: an engine that only learns of a mistake at its start is down by then.
    if engine.active and (mistake := host.run(VALIDATE, check=False)).exit == MISTAKEN:
        host.run(TAKE_BACK)
        raise does_not_start(host, "what was written was taken back before it was restarted", mistake.stdout)


def _keep_record(engine: Engine) -> Script:
    """Note what the engine was before the book came, and keep its settings: 90 goes by the one and puts back the other."""
    was = EngineBefore.STOPPED if engine.version else EngineBefore.ABSENT
    return sh(
        """mkdir -p @{folder}
held() { { find @{data}/containers @{data}/volumes -mindepth 1 -maxdepth 1 -type d; find @{data}/image -path '*/content/sha256/*'; } 2>/dev/null | head -n 1; }
was=@{was}
[ "$was" != @{stopped} ] || [ -z "$(held)" ] || was=@{kept}
[ -e @{record} ] || echo "$was" > @{record}
[ ! -e @{settings} ] || cp -n @{settings} @{before}""",
        folder=_RECORD.rpartition("/")[0],
        data=MOUNT_POINT,
        was=EngineBefore.RUNNING if engine.active else was,
        stopped=EngineBefore.STOPPED,
        kept=EngineBefore.HELD,
        record=_RECORD,
        settings=SETTINGS,
        before=_BEFORE,
    )


def _listen(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    # The line of an engine that was installed just now is not known yet.
    line = engine.start_line or host.ask(ENGINE).start_line
    host.run(keep_undo())
    host.put(DROP_IN, _drop_in(wanted.params, host.node, line))


def _enable(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    host.run(sh("systemctl enable -q docker.service"))


def _start(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    bring_up(book, host, engine)


def _unlock(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    unlock_manager(book, host.name)


def _later(book: Book, host: Host, wanted: Wanted, engine: Engine) -> None:
    """Do nothing yet: restarts come when every node is prepared, one after the other."""


_APPLY: Mapping[Action, Callable[[Book, Host, Wanted, Engine], None]] = {
    Action.INSTALL_ENGINE: _install,
    Action.CERTIFICATE: _put_certificate,
    Action.SETTINGS: _put_settings,
    Action.LISTEN: _listen,
    Action.ENABLE: _enable,
    Action.START: _start,
    Action.RESTART: _later,
    Action.UNLOCK: _unlock,
}
