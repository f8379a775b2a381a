"""Phase 07: bootstrap one Galera member once, let the rest join it by state transfer, wave after wave."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from swarmbook.access.hosts import Host
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, SwarmbookError, UsageError, WaitTimeout, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book, Change, StepResult, converge
from swarmbook.model.checks import Check, equal
from swarmbook.params import ParamView
from swarmbook.phases.galera.members import Galera, Member, nobody_serves, probe_member, read_member
from swarmbook.phases.galera.stack import Parts, data_folder, document, member_name, parts, volume_name
from swarmbook.phases.galera.states import states_shown
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_api import api, known_tokens, policy_token, token_mark
from swarmbook.phases.support.images import ensure_images, nodes_without_image, wanted_image
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["bootstrap", "plan_galera"]

#: A member may fail to join and be started again: its donor was busy, say. More often than this is no bad luck.
_STARTS = 4
#: How long members that hold data, and of which some run, may take to find each other again, seconds: after a node came back, say.
_REUNION_S = 60
#: What a first start that failed has said, beside its data; ``logs.sh`` reads it.
_FAILED_LOG = "failed-start.log"


# -- observe -----------------------------------------------------------------------------------------------------------


def _observe(book: Book, manager: str) -> Galera:
    params = book.params
    engines = book.engines(params.members())
    lacking = nodes_without_image(engines, wanted_image(book, "galera"))
    client = book.engine(manager)
    specs = {name: stack.spec_of(attrs) for name, attrs in stack.services(client, params.mariadb_cluster_name).items()}

    def one(host: Host) -> Member:
        output = host.run(probe_member(params, host.name)).stdout
        return read_member(output, image=host.name not in lacking, spec=specs.get(host.name, ""))

    members = book.fleet.each(one, book.ready(params.members()))
    configs = frozenset(entry["Spec"]["Name"] for entry in client.api.configs())
    name, rules = _token(params)
    return Galera(
        members,
        frozenset(stack.secret_names(client)),
        configs,
        token_mark(book.cluster.name, name, rules) in _tokens(book),
        tuple(sorted(set(specs) - set(params.members()))),
    )


def _tokens(book: Book) -> frozenset[str]:
    """Consul's tokens; in a prospect there may be no Consul yet."""
    try:
        return known_tokens(api(book, book.ready()[0]))
    except WorldError:
        if book.prospect is None:
            raise
        return frozenset()


def _token(params: ParamView) -> tuple[str, str]:
    """Name and rules of the token by which members announce themselves to Consul."""
    cluster = params.mariadb_cluster_name
    return f"service-{cluster}", f'service "{cluster}" {{ policy = "write" }}\n'


# -- plan --------------------------------------------------------------------------------------------------------------


def plan_galera(params: ParamView, made: Parts, seen: Galera) -> list[Change]:
    """Changes that bring the cluster to what is wanted; pure.

    Raises:
        WorldError: No member is in service and some hold data: which of them may go on is nobody's guess. Or a port is taken.
    """
    members = seen.members
    if seen.strays:
        raise WorldError(
            f"{', '.join(seen.strays)} carries a member and is no longer among the parameters' galera_nodes; the book does not take single members away yet",
            where=", ".join(seen.strays),
            wanted=f"members on {', '.join(members)}",
            next="put it back into galera_nodes, or take the cluster away: swarmbook destroy PARAMS",
            code=Code.NODE_TAKEN_OUT,
        )
    for name, member in members.items():
        if member.port_taken:
            raise WorldError(
                f"port {params.mariadb_port} is in use on {name}",
                where=name,
                wanted="a free port for the member",
                seen=member.port_taken,
                next="choose another mariadb_port, or end what listens there",
                code=Code.MEMBER_PORT_TAKEN,
            )
    changes = [Change(name, "image", "MariaDB's image loaded") for name, member in members.items() if not member.image]
    changes += [
        Change("cluster", "secret", f"swarm secret {stack.secret_base(name)}", {"name": name})
        for name in made.secrets
        if name not in seen.secrets
    ]
    if made.settings[0] not in seen.configs:
        changes.append(Change("cluster", "config", f"swarm config {made.settings[0]}"))
    if not seen.token:
        changes.append(Change("cluster", "token", "Consul token for the members"))
    changes += [Change(name, "folder", "data folder made") for name, member in members.items() if not member.folder]
    first, *_ = members
    serving = any(member.synced for member in members.values())
    if not serving:
        founding = _plan_first(first, members)
        serving = any(
            change.action == "reunite" for change in founding
        )  # whoever holds data is then waited for, the first member too
        changes += founding
    wanted = {name: service["deploy"]["labels"][stack.SPEC_LABEL] for name, service in made.services.items()}
    for name, member in members.items():
        if not member.spec:
            if name != first or serving:
                changes.append(Change(name, "join", "joined by state transfer"))
        elif not member.synced and name != first:
            changes.append(Change(name, "await", "waited for until Synced"))
        elif member.spec != wanted[name]:
            changes.append(Change(name, "update", "member restarted with its new settings"))
        elif not member.synced and serving:
            changes.append(Change(name, "await", "waited for until Synced"))
    return changes


def _plan_first(first: str, members: Mapping[str, Member]) -> list[Change]:
    """How the cluster is founded, when nobody is in service."""
    founder = members[first]
    others = {
        name: member for name, member in members.items() if name != first and (member.data or member.bootstrapped)
    }
    half_made = founder.used and not founder.bootstrapped
    if half_made and founder.running and not others:
        return [Change(first, "await-first", "bootstrap waited for")]
    if half_made and not others:
        # Nobody was let in before it was complete (accounts are locked until then), so nothing of anybody's is in it; it is kept all the same.
        return [
            Change(first, "set-aside", "half-made bootstrap set aside"),
            Change(first, "bootstrap", "cluster bootstrapped"),
        ]
    if founder.bootstrapped and founder.running and not others:
        return [Change(first, "await-first", "first member waited for")]
    if founder.data or founder.bootstrapped or others:
        holders = [member for member in members.values() if member.data or member.bootstrapped]
        if len(holders) > 1 and all(member.spec for member in holders) and any(member.running for member in holders):
            # A node that was away, or all of them: what kept its view of the cluster goes on by itself once it sees the others.
            return [Change("cluster", "reunite", f"members that hold data given {_REUNION_S} s to find each other")]
        raise nobody_serves(members)
    return [Change(first, "bootstrap", "cluster bootstrapped")]


# -- apply -------------------------------------------------------------------------------------------------------------


def _apply(book: Book, made: Parts, seen: Galera, changes: list[Change]) -> None:
    params = book.params
    manager = require_swarm(book)
    client = book.engine(manager)
    todo: dict[str, list[Change]] = {}
    for change in changes:
        todo.setdefault(change.action, []).append(change)
    scripts = _init_scripts(params) if "bootstrap" in todo else {}
    ensure_images(book, {c.host: ["galera"] for c in todo.get("image", [])})
    stack.ensure_secrets(
        book,
        client,
        manager,
        {c.data["name"]: made.secrets[c.data["name"]] for c in todo.get("secret", [])},
        {"swarmbook.phases.galera.step": params.mariadb_cluster_name},
    )
    if "config" in todo:
        name, content = made.settings
        client.api.create_config(
            name,
            content.encode(),
            labels={
                stack.CLUSTER_LABEL: book.cluster.name,
                "swarmbook.phases.galera.step": params.mariadb_cluster_name,
            },
        )
        book.transcript.record(manager, f"docker config create {name} - <<'END'\n{content}END", 0, 0.0)
    if "token" in todo:
        name, rules = _token(params)
        node = params.nodes[0]
        policy_token(
            book,
            api(book, node),
            node,
            name,
            rules,
            book.cluster.secret(f"{params.mariadb_cluster_name}-consul-token", make=secrets.token),
        )
    volume = f"docker volume create --label {stack.CLUSTER_LABEL}={book.cluster.name} {volume_name(params)} >/dev/null"
    make = f"mkdir -p {shlex.quote(data_folder(params))}" if params.mariadb_data_path else volume
    book.fleet.each(lambda host: host.run(make), [c.host for c in todo.get("folder", [])])
    for change in todo.get("set-aside", []):
        _remove_service(book, manager, change.host)
        folder = shlex.quote(data_folder(params))
        move = f"mv data bootstrap.used aborted && {{ [ ! -e {_FAILED_LOG} ] || mv {_FAILED_LOG} aborted; }}"
        book.fleet[change.host].run(
            f"cd {folder} && mkdir aborted && {move} && mv aborted aborted-$(date -u +%Y%m%dT%H%M%SZ)"
        )
    for change in todo.get("bootstrap", []):
        _found(book, made, seen, manager, change.host, scripts)
    for change in todo.get("await-first", []):
        _wait(book, seen, [change.host], bootstrapping=not seen.members[change.host].bootstrapped)
    if "reunite" in todo:
        _reunite(book, list(seen.members))
    _join(book, made, seen, manager, [c.host for c in todo.get("join", [])])
    _wait(book, seen, [c.host for c in todo.get("await", [])])
    for change in todo.get("update", []):  # one after the other: each is Synced again before the next one goes
        _deploy(book, made, manager, [change.host])
        _wait(book, seen, [change.host], updating=True)


def _init_scripts(params: ParamView) -> dict[str, bytes]:
    """The user's scripts, read before anything is touched."""
    if not params.mariadb_init_scripts:
        return {}
    folder = Path(params.mariadb_init_scripts).expanduser()
    if not folder.is_dir():
        raise UsageError(
            "the folder of initial scripts is not there",
            where=str(folder.resolve()),
            wanted="a folder with *.sql, *.sql.gz or *.sh",
            next="mend mariadb_init_scripts in the parameters",
            code=Code.INIT_SCRIPTS_NOT_THERE,
        )
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name.endswith((".sql", ".sql.gz", ".sh"))
    }


def _deploy(book: Book, made: Parts, manager: str, names: list[str]) -> None:
    params = book.params
    stack.deploy(
        book,
        manager,
        params.mariadb_cluster_name,
        document(params, made, params.members()),
        document(params, made, names),
    )


def _found(book: Book, made: Parts, seen: Galera, manager: str, first: str, scripts: Mapping[str, bytes]) -> None:
    """Put the mark, start the first member, wait until it is Synced. Its first start uses the mark up before it does anything else."""
    folder = data_folder(book.params)
    host = book.fleet[first]
    host.run(f"rm -rf {shlex.quote(folder)}/init.d")
    for name, content in scripts.items():
        host.put(f"{folder}/init.d/{name}", content, mode=0o644)
    # Not if a start that we did not see has used the mark up meanwhile: a second one would lie beside data, and be refused for ever.
    host.run(f"cd {shlex.quote(folder)} && {{ [ -e bootstrap.used ] || touch bootstrap; }}")
    try:
        _deploy(book, made, manager, [first])
        _wait(book, seen, [first], bootstrapping=True)
    except SwarmbookError:
        _keep_log(book, first)
        # Restarting would not help and only fill the log: the mark is used up. The data stays; the next run sets it aside.
        _remove_service(book, manager, first)
        raise


def _keep_log(book: Book, name: str) -> None:
    """Keep a member's log beside its data: its containers go with its service, and what they said would go with them."""
    folder = shlex.quote(data_folder(book.params))
    select = f"docker ps -aq --filter label=com.docker.swarm.service.name={book.params.mariadb_cluster_name}_{name}"
    script = (
        f"umask 077; for c in $({select} | tac); do docker logs -t --tail 400 $c; done > {folder}/{_FAILED_LOG} 2>&1"
    )
    with contextlib.suppress(SwarmbookError):  # what is raised already says more than this could
        book.fleet[name].run(script, check=False, quiet=True)


def _remove_service(book: Book, manager: str, name: str) -> None:
    book.fleet[manager].run(f"docker service rm {book.params.mariadb_cluster_name}_{name} >/dev/null 2>&1", check=False)
    select = f"docker ps -q --filter label=com.docker.swarm.service.name={book.params.mariadb_cluster_name}_{name}"
    wait_for(
        f"the member on {name} has stopped",
        lambda: (not (ids := book.fleet[name].run(select, quiet=True).stdout.strip()), ids),
        timeout_s=200,
        where=name,
        next=f"swarmbook ssh {name} docker ps",
    )


def _join(book: Book, made: Parts, seen: Galera, manager: str, names: list[str]) -> None:
    """Start joiners in waves, never more at once than there are members to donate: a joiner without a free donor fails."""
    donors = len(book.params.members()) - len(names)
    while names:
        wave, names = names[: max(donors, 1)], names[max(donors, 1) :]
        _deploy(book, made, manager, wave)
        _wait(book, seen, wave)
        donors += len(wave)


def _ask(book: Book, names: list[str]) -> dict[str, Member]:
    """How members are now, once their image and service are known to be there."""
    outputs = book.fleet.each(lambda host: host.run(probe_member(book.params, host.name), quiet=True).stdout, names)
    return {name: read_member(output, image=True, spec="") for name, output in outputs.items()}


def _wait(book: Book, seen: Galera, names: list[str], *, bootstrapping: bool = False, updating: bool = False) -> None:
    if not names:
        return
    params = book.params
    manager = require_swarm(book)
    started = time.monotonic()

    def settled() -> tuple[bool, str]:
        specs: Mapping[str, str] = {}
        if updating:  # after an update the old container may still answer
            attrs = stack.services(book.engine(manager), params.mariadb_cluster_name)
            specs = {n: (attrs[n].get("UpdateStatus") or {}).get("State", "completed") for n in names if n in attrs}
        members = _ask(book, names)
        book.samples += [(time.time(), name, member.state) for name, member in members.items()]
        for name, member in members.items():
            if len(member.ended - seen.members[name].ended) >= (1 if bootstrapping else _STARTS):
                raise WorldError(
                    f"the member on {name} does not {'bootstrap' if bootstrapping else 'join'}",
                    where=f"{name}: service {params.mariadb_cluster_name}_{name}",
                    wanted="Synced",
                    seen=last_words(book, name),
                    next=f"mend what the log says, then: swarmbook run PARAMS --from {book.phase}"
                    + ("" if bootstrapping else "; the donor's log may say more than the joiner's"),
                    code=Code.FOUNDING_FAILED if bootstrapping else None,
                )
        late = [
            f"{name}: {member.state}"
            for name, member in members.items()
            if not member.synced or specs.get(name, "completed") != "completed"
        ]
        return not late, f"{'; '.join(late)} after {time.monotonic() - started:.0f} s"

    wait_for(
        "every member is Synced",
        settled,
        timeout_s=params.wait_timeout,
        where=", ".join(names),
        next=f"swarmbook ssh {names[0]} docker service logs --tail 40 {params.mariadb_cluster_name}_{names[0]}",
        first_s=0.3,
    )


def _reunite(book: Book, names: list[str]) -> None:
    """Wait until one of them serves. Nobody is bootstrapped for it: who may go on is for Galera to know, or for a person."""
    members: dict[str, Member] = {}

    def serving() -> tuple[bool, str]:
        members.update(_ask(book, names))
        return any(member.synced for member in members.values()), ""

    try:
        wait_for("a member serves again", serving, timeout_s=min(_REUNION_S, book.params.wait_timeout), first_s=0.3)
    except WaitTimeout:
        raise nobody_serves(members) from None


def last_words(book: Book, name: str) -> str:
    """The last lines that matter of a member's log, of the container that ended last."""
    service = f"{book.params.mariadb_cluster_name}_{name}"
    select = f"docker ps -aq --filter label=com.docker.swarm.service.name={service}"
    # The newest may be the next try, which has said nothing yet.
    which = f'c=$({select} --filter status=exited | head -n 1); [ -n "$c" ] || c=$({select} | head -n 1)'
    script = f"{which}; docker logs --tail 200 $c 2>&1 | grep -E 'ERROR|galera:|\\.sql|\\.sh' | tail -n 12"
    return book.fleet[name].run(script, check=False).stdout.strip() or "nothing in its log"


# -- verify ------------------------------------------------------------------------------------------------------------


def _verify(params: ParamView, seen: Galera) -> list[Check]:
    uuids = {member.status.get("cluster_state_uuid") for member in seen.members.values()}
    rows = []
    first, *_ = seen.members
    for name, member in seen.members.items():
        status = member.status
        rows += [
            equal(
                name,
                f"{member_name(params, name)} is",
                "Synced, Primary",
                f"{status.get('state_comment', 'down')}, {status.get('cluster_status', 'down')}",
            ),
            equal(name, "cluster size", len(seen.members), status.get("cluster_size", 0)),
            Check(
                name,
                "cluster state uuid",
                "one for all",
                str(status.get("cluster_state_uuid")),
                len(uuids) == 1 and None not in uuids,
            ),
            Check(
                name,
                "got its data by",
                "bootstrap, SST or IST" if name == first else "SST or IST",
                member.transfer or "not in its log any more",
                not member.transfer or name == first or "bootstrap" not in member.transfer,
            ),
            equal(
                name,
                "bootstrap mark",
                "used up" if name == first else "none",
                "there" if member.mark else ("used up" if member.used else "none"),
            ),
        ]
    return rows


def _suppose(book: Book, seen: Galera | None) -> Galera:
    """Nodes that are still to come have been sent the image by 03."""
    known = seen or Galera({})
    return replace(
        known, members={name: known.members.get(name) or Member(image=True) for name in book.params.members()}
    )


def bootstrap(book: Book) -> StepResult:
    """Bootstrap the first member once, let the others join, wave after wave, and see them Synced.

    Raises:
        OutOfOrder: There is no overlay network or no Consul.
        WorldError: A member does not bootstrap or join; or there is data and nobody in service.
    """
    made = cache(lambda: parts(book))  # not before the first look: out of order, nothing is made

    def observe(book: Book) -> Galera:
        manager = require_swarm(book)
        if (
            not book.fleet[manager]
            .run(f"docker network inspect {book.params.overlay_network} >/dev/null 2>&1", check=False)
            .ok
        ):
            raise OutOfOrder(
                f"run 06 first: no network {book.params.overlay_network}",
                where=manager,
                next="swarmbook run PARAMS --from 06",
            )
        seen = _observe(book, manager)
        if book.prospect is None and all(member.spec for member in seen.members.values()):
            stack.keep_file(book, book.params.mariadb_cluster_name)
        return seen

    def apply(book: Book, seen: Galera, changes: list[Change]) -> None:
        with states_shown(book):
            _apply(book, made(), seen, changes)

    return converge(
        book,
        observe=observe,
        plan=lambda params, seen: plan_galera(params, made(), seen),
        apply=apply,
        verify=_verify,
        what="Galera",
        hosts=len(book.params.members()),
        suppose=_suppose,
    )
