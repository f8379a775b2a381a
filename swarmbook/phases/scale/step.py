"""Shrinking, one node after the other, each behind a gate: members Synced, raft whole, before the next one goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from swarmbook.access.commands import sh
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.machines.providers import provider_for
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check
from swarmbook.model.health import Role, SwarmState
from swarmbook.params import Params
from swarmbook.phases.galera.ease import Ease
from swarmbook.phases.scale.extent import Extent, extent_of, listing, raft_peers
from swarmbook.phases.scale.plan import checks, plan_scale
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_api import api, patiently
from swarmbook.phases.support.members import running_of
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.probe import LOCAL

__all__ = ["shrink"]


class Shrink(Step[Extent, Params]):
    """Let nodes, members and managers go that the parameters do not name any more.

    Raises:
        WorldError: No Synced member would be left, or no manager; or a member that stays is not Synced.
        ConfirmationMissing: Machines would be removed, and the parameter ``confirm`` is not ``CANCEL``.
    """

    name = "shrink"

    def observe(self, book: Book) -> Extent:
        return extent_of(book)

    def want(self, book: Book, seen: Extent) -> Params:
        return book.params

    def plan(self, wanted: Params, seen: Extent) -> list[Change]:
        return plan_scale(wanted, seen)

    def apply(self, book: Book, wanted: Params, seen: Extent, changes: list[Change]) -> None:
        whole = book.over([*(node.name for node in book.nodes), *(n for n in seen.leaving if n not in seen.gone)])
        try:
            _Leaving(book, whole, seen).apply(changes)
        finally:
            whole.close()

    def verify(self, wanted: Params, seen: Extent) -> list[Check]:
        return checks(wanted, seen)

    def forecast(self, ahead: Forecast, seen: Extent, changes: list[Change]) -> None:
        if changes:
            ahead.unknown = "what is left is looked at when these have left"


shrink = Shrink()


class _Leaving:
    """The changes, applied; each may have been done already by a run that was killed.

    Args:
        book: On the nodes that stay.
        whole: On those that leave as well.
        seen: What there was.
    """

    def __init__(self, book: Book, whole: Book, seen: Extent) -> None:
        self._book, self._whole, self._seen = book, whole, seen
        self._params = book.params
        self._manager = require_swarm(book)

    def apply(self, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            for change in todo.take(Action.PROMOTE):
                self._on_manager_node("promote", change.host)
            left: list[str] = []
            for change in todo.take(Action.REMOVE_MEMBER):
                left.append(change.host)
                self._remove_member(change.host, change.things[0], left)
            for change in todo.take(Action.LEAVE_CONSUL):
                self._leave_consul(change.host)
            for change in todo.take(Action.DEMOTE):
                self._on_manager_node("demote", change.host)
            for change in todo.take(Action.LEAVE_SWARM):
                self._leave_swarm(change.host)
            for change in todo.take(Action.FORGET):
                self._forget(change.things[0])
            for change in todo.take(Action.REMOVE_SECRETS):
                stack.remove_secrets(self._book, self._manager, change.things)
            if removed := sorted({change.host for change in todo.take(Action.REMOVE)}):
                provider_for(self._book).remove(removed)
            if unlisted := {change.host for change in todo.take(Action.UNLIST)}:
                cluster = self._book.cluster
                kept = [node for node in cluster.nodes if node.name not in unlisted]
                cluster.save_nodes(kept, provider_for(self._book).name)

    def _wait(
        self, what: str, look: Callable[[], tuple[bool, str]], where: str, next: str = "swarmbook status PARAMS"
    ) -> None:
        wait_for(what, look, timeout_s=self._params.wait_timeout, where=where, next=next, first_s=0.2)

    # -- members ------------------------------------------------------------------------------------------------------

    def _remove_member(self, name: str, service: str, left: Iterable[str]) -> None:
        """Stop a member cleanly; it says goodbye to its group, which counts one fewer and goes on."""
        stay = [other for other in self._seen.members if other not in left and self._seen.members[other] is not None]
        self._at_ease(stay, None)
        self._book.fleet[self._manager].run(sh("docker service rm @{service} >/dev/null", service=service), check=False)
        if self._seen.members[name] is not None:
            running = running_of(service)
            self._wait(
                f"the member on {name} has stopped",
                lambda: (not (ids := self._whole.fleet[name].ask(running, quiet=True)), " ".join(ids)),
                name,
                f"swarmbook ssh {name} docker ps",
            )
        self._at_ease(stay, len(stay))

    def _at_ease(self, names: list[str], size: int | None) -> None:
        """Wait until members are Synced, count as many as they should, and hold no writers back."""
        self._wait("the members that stay are at ease", Ease(self._whole, names, size).look, ", ".join(names))

    # -- Consul -------------------------------------------------------------------------------------------------------

    def _leave_consul(self, name: str) -> None:
        """Have an agent leave, and the swarm start none in its place; a server takes its vote with it."""
        servers = [n for n in self._seen.peers if n != name and n in self._params.nodes]
        if not servers:
            raise WorldError(
                f"the Consul server on {name} is the last one",
                where=name,
                wanted="another server that stays",
                next="swarmbook run PARAMS --only 04",
            )
        self._raft_whole(servers, None)
        said_goodbye = name not in self._seen.gone and self._agent_leaves(name)
        # The swarm starts it again where the label says so.
        self._book.fleet[self._manager].run(
            sh(
                "id=$(docker node ls -q --filter @{filter}); "
                '[ -z "$id" ] || docker node update --label-rm consul $id >/dev/null',
                filter=f"node.label=name={name}",
            )
        )
        asked = api(self._book, servers[0])
        if not said_goodbye:
            force = f"agent/force-leave/{name}?prune"
            patiently(self._book, f"Consul lets {name} go", lambda: asked.write("PUT", force, None))
        self._raft_whole(servers, name)

    def _agent_leaves(self, name: str) -> bool:
        try:
            api(self._whole, name).write("PUT", "agent/leave", None)
        except WorldError:  # it may have gone before it could answer, or not have run
            return False
        return True

    def _raft_whole(self, servers: list[str], without: str | None) -> None:
        """Wait until Consul has a leader, and one of its servers no place in raft any more."""

        def look() -> tuple[bool, str]:
            try:
                peers = raft_peers(self._book, servers[0])
            except WorldError as error:
                return False, error.seen or error.what
            fine = any(peers.values()) and without not in peers
            return (
                fine,
                f"raft: {', '.join(sorted(peers))}; leader: {next((n for n, leads in peers.items() if leads), 'none')}",
            )

        self._wait(f"Consul goes on without {without}" if without else "Consul has a leader", look, servers[0])

    # -- the swarm ------------------------------------------------------------------------------------------------------

    def _on_manager_node(self, verb: str, name: str) -> None:
        """Promote or demote a node, and wait until raft is whole again."""
        id = self._seen.swarm[name].id
        command = sh("docker node promote @{id}", id=id) if verb == "promote" else sh("docker node demote @{id}", id=id)
        self._book.fleet[self._manager].run(command)
        wanted = Role.MANAGER if verb == "promote" else Role.WORKER

        def look() -> tuple[bool, str]:
            nodes = listing(self._book, self._manager)
            late = [
                f"{n.hostname}: {n.state} {n.manager}"
                for n in nodes.values()
                if n.role is Role.MANAGER and n.manager not in ("leader", "reachable")
            ]
            node = nodes[name]
            return node.role is wanted and not late, "; ".join(late) or f"{name}: {node.role.value}"

        self._wait(f"{name} is a {wanted.value}, and raft is whole", look, name)

    def _leave_swarm(self, name: str) -> None:
        host = self._whole.fleet[name]
        if host.ask(LOCAL, quiet=True).state is SwarmState.ACTIVE:
            host.run(sh("docker swarm leave >/dev/null"), timeout_s=self._params.wait_timeout)

    def _forget(self, id: str) -> None:
        """Remove a node's entry. It has left, and the swarm would take a minute to see that; raft takes a moment to let it go."""

        def look() -> tuple[bool, str]:
            done = self._book.fleet[self._manager].run(
                sh("docker node ls -q | grep -q @{id} || exit 0; docker node rm --force @{id} 2>&1", id=id), check=False
            )
            return done.ok, done.stdout.strip()

        self._wait("the swarm forgets a node that has left", look, self._manager, "docker node ls")
