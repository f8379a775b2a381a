"""Phase 07: bootstrap one Galera member once, let the rest join it by state transfer, wave after wave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from swarmbook.access.commands import sh
from swarmbook.access.pki import Purpose
from swarmbook.access.probe import Probe
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.galera.members import Galera, Member, Wsrep, found_on
from swarmbook.phases.galera.plan import plan_galera, retired_secrets, token_name
from swarmbook.phases.galera.scripts import initial_scripts
from swarmbook.phases.galera.stack import Parts, document, parts
from swarmbook.phases.galera.states import states_shown
from swarmbook.phases.galera.work import Work
from swarmbook.phases.support import stack
from swarmbook.phases.support.authorities import advance
from swarmbook.phases.support.consul_api import api
from swarmbook.phases.support.consul_tokens import Token, forget_others, lingering, tokens_there, write_token
from swarmbook.phases.support.images import ensure_images, image_of, nodes_without_image
from swarmbook.phases.support.members import ROLES, endpoint_name, member_name
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["bootstrap"]


class Bootstrap(Step[Galera, Parts]):
    """Bootstrap the first member once, let the others join, wave after wave, and see them Synced.

    Raises:
        OutOfOrder: There is no overlay network or no Consul.
        WorldError: A member does not bootstrap or join; or there is data and no member in service.
    """

    name = "Galera"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Galera:
        manager = require_swarm(book)
        params = book.params
        if not book.fleet[manager].ask(_there(params.overlay_network)):
            raise OutOfOrder(
                f"run 06 first: no network {params.overlay_network}",
                where=manager,
                next="swarmbook run PARAMS --from 06",
            )
        engines = book.engines(params.members())
        lacking = nodes_without_image(engines, image_of(book, "galera"))
        client = book.engine(manager)
        specs = stack.specs(client, params.mariadb_cluster_name)
        members = book.fleet.each(
            lambda host: host.ask(
                found_on(params, host.name, image=host.name not in lacking, spec=specs.get(host.name, ""))
            ),
            book.ready(params.members()),
        )
        return Galera(
            members,
            client.secrets(),
            client.configs(),
            _has_token(book),
            tuple(sorted(set(specs) - {*params.members(), *params.without})),
            tuple(sorted(set(specs) & set(params.without))),
        )

    def want(self, book: Book, seen: Galera) -> Parts:
        made = parts(book, seen.founder)
        if all(change.action is not Action.BOOTSTRAP for change in plan_galera(made, seen)):
            return made
        return replace(made, scripts=initial_scripts(book.params.mariadb_init_scripts))

    def plan(self, wanted: Parts, seen: Galera) -> list[Change]:
        return plan_galera(wanted, seen)

    def apply(self, book: Book, wanted: Parts, seen: Galera, changes: list[Change]) -> None:
        with states_shown(book), Todo(changes) as todo:
            todo.take(Action.REPLACE_AUTHORITY)  # by stages: `advance`
            if images := {c.host: ["galera"] for c in todo.take(Action.IMAGES)}:
                ensure_images(book, images)
                wanted = self.want(book, seen)  # one that was built just now has its whole name only now
            work = Work(book, wanted, seen)
            if Action.CONFIG in todo:
                work.try_settings()
            new_token = Action.TOKEN in todo
            self._give_the_swarm(book, wanted, todo)
            work.make_folders({c.host: c.things[0] for c in todo.take(Action.MAKE_FOLDER)})
            for change in todo.take(Action.WITHDRAW_MARK):
                work.withdraw(change.host, change.things[0])
            for change in todo.take(Action.ALONE):
                work.mark_alone(change.host, *change.things)
            for change in todo.take(Action.SET_ASIDE):
                work.set_aside(change.host, change.things[0])
            for change in todo.take(Action.BOOTSTRAP):
                work.found(change.host)
            for change in todo.take(Action.FOUND_RESTORED):
                work.found_restored(change.host)
            for change in todo.take(Action.AWAIT_FIRST):
                work.wait([change.host], bootstrapping=not seen.members[change.host].bootstrapped)
            for change in todo.take(Action.REUNITE):
                work.reunite(int(change.things[0]))
            work.join([c.host for c in todo.take(Action.JOIN_CLUSTER)])
            work.wait([c.host for c in todo.take(Action.AWAIT_MEMBER)])
            work.update([c.host for c in todo.take(Action.UPDATE_MEMBER)])
            for change in todo.take(Action.REMOVE_SECRETS):
                stack.remove_secrets(book, require_swarm(book), change.things)
            if new_token:  # no member uses the one before any more
                forget_others(book, api(book, wanted.params.nodes[0]), [_token(book)])

    def _give_the_swarm(self, book: Book, wanted: Parts, todo: Todo) -> None:
        """Create the secrets, the config with the server's settings, and the members' token."""
        cluster = wanted.params.mariadb_cluster_name
        manager = require_swarm(book)
        client = book.engine(manager)
        labels = {"swarmbook.galera": cluster}
        bases = {thing for change in todo.take(Action.SECRET) for thing in change.things}
        contents = {name: content for name, content in wanted.secrets.items() if stack.secret_base(name) in bases}
        stack.ensure_secrets(book, client, contents, labels)
        for change in todo.take(Action.CONFIG):
            name, content = wanted.settings
            assert change.things == (name,)
            client.create_config(name, content.encode(), labels={stack.CLUSTER_LABEL: book.cluster.name, **labels})
            book.transcript.record(manager, f"docker config create {name} - <<'END'\n{content}END", 0, 0.0)
        for change in todo.take(Action.TOKEN):
            made = _token(book)
            assert change.things == (made.name,)
            write_token(book, api(book, wanted.params.nodes[0]), made)

    def verify(self, wanted: Parts, seen: Galera) -> list[Check]:
        params = wanted.params
        uuids = {member.wsrep.uuid if member.wsrep else "" for member in seen.members.values()}
        rows = []
        first = seen.founder
        for name, member in seen.members.items():
            wsrep = member.wsrep or Wsrep("down", "down")
            founded = name == first
            mark = "there" if member.mark else "used up" if member.used else "none"
            rows += [
                equal(name, f"{member_name(params, name)} is", "Synced, Primary", f"{wsrep.state}, {wsrep.component}"),
                equal(name, "cluster size", len(seen.members), wsrep.size),
                Check(
                    name, "cluster state uuid", "one for all", wsrep.uuid or "none", len(uuids) == 1 and "" not in uuids
                ),
                Check(
                    name,
                    "got its data by",
                    "bootstrap, SST or IST" if founded else "SST or IST",
                    member.transfer or "not in its log any more",
                    not member.transfer or founded or "bootstrap" not in member.transfer,
                ),
                # Used up lies with the data of a founder, also of one that has been one; gone, where its disk was replaced.
                Check(name, "bootstrap mark", "used up, or none", mark, mark != "there"),
            ]
        if seen.left_out:
            return rows
        retired = retired_secrets(params.mariadb_cluster_name)
        return [*rows, stack.none_replaced(seen.secrets, wanted.secrets, retired)]

    def advance(self, book: Book) -> bool:
        return advance(book, Purpose.REPLICATION, Purpose.DATABASE)

    def files(self, book: Book, wanted: Parts) -> Mapping[str, str]:
        cluster = wanted.params.mariadb_cluster_name
        return {f"stack-{cluster}.yaml": stack.file(wanted.cluster, cluster, document(wanted))}

    def assume(self, ahead: Forecast, params: Params, seen: Galera | None) -> Galera:
        # Nodes that are still to come have been sent the image by 03.
        known = seen or Galera({})
        if ahead.restored:
            node, snapshot = ahead.restored
            new = Member(image=True, folder=True)
            founder = {node: replace(new, data=True, restored=snapshot)}
            return replace(known, members={name: founder.get(name, new) for name in params.members()})
        return replace(
            known, members={name: known.members.get(name) or Member(image=True) for name in params.members()}
        )


def _there(network: str) -> Probe[bool]:
    """Ask whether the swarm has a network."""
    return Probe(
        sh("docker network inspect --format '{{.Id}}' @{network} 2>/dev/null | as found", network=network),
        lambda facts: any(facts["found"]),
    )


def _token(book: Book) -> Token:
    """Return the token by which members announce themselves to Consul."""
    cluster = book.params.mariadb_cluster_name
    names = [cluster, *(endpoint_name(book.params, role) for role in ROLES)]
    return Token.of(
        book,
        token_name(cluster),
        "".join(f'service "{name}" {{ policy = "write" }}\n' for name in names),
        f"{cluster}-consul-token",
    )


def _has_token(book: Book) -> bool | None:
    """Tell whether Consul has the members' token, and none that it has replaced; None where it could not be asked."""
    try:
        with book.cluster.untouched():  # a look makes no token
            wanted, known = _token(book), tokens_there(book, book.ready()[0])
    except WorldError:
        return None
    return wanted.mark in known and not lingering(wanted, known)


bootstrap = Bootstrap()
