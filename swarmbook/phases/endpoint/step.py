"""Phase 20, second step: HAProxy on every node, under two names."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swarmbook.access.commands import lines, sh
from swarmbook.access.probe import Facts, Probe, line
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.material import Material
from swarmbook.params import Params
from swarmbook.phases.endpoint.haproxy import haproxy_cfg
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import ensure_images, image_materials, image_of, image_sboms, nodes_without_image
from swarmbook.phases.support.members import ROLES, endpoint_name, endpoint_service, endpoint_stack, of_service
from swarmbook.phases.support.ports import holder
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.prepared import changes_for, nodes_with, only_prepared, prepare

__all__ = ["Endpoint", "deploy", "published"]


@dataclass(frozen=True)
class Endpoint:
    """The endpoint as it is.

    Args:
        lacking: Nodes without the image.
        configs: Names of the swarm's configs.
        specs: Hash on each service, by role.
        health: By node and role, what the container's healthcheck says; ``none`` where there is none.
        taken: By node, who listens on a port that is to be published and is not ours.
        prepared: Nodes whose label lets HAProxy start there.
    """

    lacking: tuple[str, ...] = ()
    configs: frozenset[str] = frozenset()
    specs: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """What the swarm is given: the stack file, and the services' settings by the names of their configs."""

    params: Params
    image: str
    document: Mapping[str, Any]
    settings: Mapping[str, str]

    @property
    def specs(self) -> dict[str, str]:
        """The hash on each service."""
        return {
            role: service["deploy"]["labels"][stack.SPEC_LABEL] for role, service in self.document["services"].items()
        }


def published(params: Params, role: str) -> int:
    """Return the port on every node that leads to a role; 0 where it is not published."""
    return {"writer": params.endpoint_writer_port, "reader": params.endpoint_reader_port}[role]


def wanted_endpoint(params: Params, cluster: str, image: str) -> Wanted:
    """Build the endpoint's services.

    Args:
        params: The parameters.
        cluster: Name of the book's cluster.
        image: HAProxy's.
    """
    services, settings = {}, {}
    for role in ROLES:
        text = haproxy_cfg(params, role)
        config = f"{endpoint_name(params, role)}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        settings[config] = text
        service: dict[str, Any] = {
            "image": image,
            "user": "haproxy",
            "networks": {"overlay": {"aliases": [endpoint_name(params, role)]}},
            "configs": [{"source": config, "target": "/etc/swarmbook/haproxy.cfg"}],
            "read_only": True,
            "cap_drop": ["ALL"],
            "stop_grace_period": "10s",
            "deploy": {
                "mode": "global",
                "placement": only_prepared(endpoint_stack(params)),
                # The name resolves to the containers' own addresses: a virtual one would need IPVS (decision 0009).
                "endpoint_mode": "dnsrr",
                "restart_policy": {"condition": "any", "delay": "1s"},
                "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "pause", "monitor": "1s"},
            },
        }
        if port := published(params, role):
            service["ports"] = [{"target": 3306, "published": port, "protocol": "tcp", "mode": "host"}]
        services[role] = stack.stamp(cluster, service)
    document = {
        "version": "3.12",
        "services": services,
        "networks": {"overlay": {"external": True, "name": params.overlay_network}},
        "configs": {name: {"external": True} for name in settings},
    }
    return Wanted(params, image, document, settings)


class Deploy(Step[Endpoint, Wanted]):
    """Start HAProxy on every node, once for the writer and once for the readers.

    Raises:
        OutOfOrder: There is no swarm.
        WorldError: A port is taken.
    """

    name = "endpoint"

    def observe(self, book: Book) -> Endpoint:
        manager = require_swarm(book)
        client, params = book.engine(manager), book.params
        lacking = nodes_without_image(book.engines(), image_of(book, "haproxy"))
        found = book.fleet.each(lambda host: host.ask(_containers(params), quiet=True), book.ready())
        return Endpoint(
            tuple(lacking),
            client.configs(),
            stack.specs(client, endpoint_stack(params)),
            {node: health for node, (health, _) in found.items()},
            {node: taken for node, (_, taken) in found.items() if taken},
            nodes_with(client, endpoint_stack(params)),
        )

    def want(self, book: Book, seen: Endpoint) -> Wanted:
        return wanted_endpoint(book.params, book.cluster.name, image_of(book, "haproxy"))

    def plan(self, wanted: Wanted, seen: Endpoint) -> list[Change]:
        for node, taken in seen.taken.items():
            raise WorldError(
                f"a port of the endpoint is in use on {node}",
                where=node,
                wanted="free ports endpoint_writer_port and endpoint_reader_port",
                seen=taken,
                next="choose another port, or end what listens there",
                code=Code.MEMBER_PORT_TAKEN,
            )
        changes = [Change(node, Action.IMAGES, ("HAProxy's image",)) for node in seen.lacking]
        changes += changes_for(endpoint_stack(wanted.params), seen.health, seen.prepared)
        changes += [Change("cluster", Action.CONFIG, (name,)) for name in wanted.settings if name not in seen.configs]
        changes += [
            Change("cluster", Action.DEPLOY, (endpoint_service(wanted.params, role),))
            for role, spec in wanted.specs.items()
            if seen.specs.get(role) != spec
        ]
        if changes:
            return changes
        return [
            Change(node, Action.AWAIT_ENDPOINT, (endpoint_service(wanted.params, role),))
            for node, health in seen.health.items()
            for role in ROLES
            if health.get(role) != "healthy"
        ]

    def apply(self, book: Book, wanted: Wanted, seen: Endpoint, changes: list[Change]) -> None:
        params, manager = wanted.params, require_swarm(book)
        with Todo(changes) as todo:
            ensure_images(book, {change.host: ["haproxy"] for change in todo.take(Action.IMAGES)})
            prepare(book, manager, todo.take(Action.LABEL))
            wanted = self.want(book, seen)  # the image has its whole name now
            for change in todo.take(Action.CONFIG):
                content = wanted.settings[change.things[0]]
                labels = {stack.CLUSTER_LABEL: book.cluster.name, "swarmbook.galera": params.mariadb_cluster_name}
                started = time.monotonic()
                book.engine(manager).create_config(change.things[0], content.encode(), labels=labels)
                typed = f"docker config create {change.things[0]} - <<'END'\n{content}END"
                book.transcript.record(manager, typed, 0, time.monotonic() - started)
            deployed = {change.things[0] for change in todo.take(Action.DEPLOY)}
            if deployed:
                stack.deploy(book, manager, endpoint_stack(params), wanted.document)
            todo.take(Action.AWAIT_ENDPOINT)
        self._wait(book, wanted)

    def _wait(self, book: Book, wanted: Wanted) -> None:
        client = book.engine(require_swarm(book))

        def done() -> tuple[bool, str]:
            found = book.fleet.each(lambda host: host.ask(_containers(wanted.params), quiet=True), book.ready())
            late = [
                f"{node}: {role} {health.get(role, 'none')}"
                for node, (health, _) in found.items()
                for role in ROLES
                if health.get(role) != "healthy"
            ]
            rolling = [
                f"{role}: update {service.update}"
                for role, service in client.stack_services(endpoint_stack(wanted.params)).items()
                if service.update not in ("", "completed")
            ]
            return not late and not rolling, "; ".join([*late, *rolling])

        wait_for(
            "the endpoint's containers are healthy on every node",
            done,
            timeout_s=wanted.params.wait_timeout,
            where="cluster",
            next=f"swarmbook ssh {wanted.params.nodes[0]} docker service ps --no-trunc {endpoint_service(wanted.params, 'writer')}",
            first_s=0.3,
        )

    def verify(self, wanted: Wanted, seen: Endpoint) -> list[Check]:
        rows = [
            equal("cluster", f"service {endpoint_service(wanted.params, role)}", "as the file says", "as the file says" if seen.specs.get(role) == spec else "another")
            for role, spec in wanted.specs.items()
        ]  # fmt: skip
        return rows + [
            equal(node, f"container of {endpoint_name(wanted.params, role)}", "healthy", health.get(role, "none"))
            for node, health in seen.health.items()
            for role in ROLES
        ]

    def files(self, book: Book, wanted: Wanted) -> Mapping[str, str]:
        name = endpoint_stack(wanted.params)
        found = {f"stack-{name}.yaml": stack.file(book.cluster.name, name, wanted.document)}
        if not nodes_without_image({wanted.params.nodes[0]: book.engine(book.ready()[0])}, wanted.image):
            found |= image_sboms(book.engine(book.ready()[0]), [wanted.image])
        return found

    def materials(self, book: Book, wanted: Wanted, seen: Endpoint) -> list[Material]:
        return image_materials(book.engines(seen.health), {node: [wanted.image] for node in seen.health})

    def assume(self, ahead: Forecast, params: Params, seen: Endpoint | None) -> Endpoint:
        known = seen or Endpoint()
        new = [node for node in params.nodes if node not in known.health]
        return replace(
            known,
            lacking=(*known.lacking, *new),
            health={**known.health, **{node: {} for node in new}},
            prepared=known.prepared - set(new),
        )


_HEALTH = ("starting", "healthy", "unhealthy")


def _containers(params: Params) -> Probe[tuple[Mapping[str, str], str]]:
    """Ask for the endpoint's containers on a node, and who else listens on its ports."""
    parts = [
        sh(
            """c=$(@!{running} -q | head -n 1)
if [ -n "$c" ]; then docker inspect --format '{{.State.Health.Status}}' "$c" | as @{role}
elif [ @{port} != 0 ]; then { @!{holder}; } | as taken; fi""",
            running=of_service(endpoint_service(params, role)),
            holder=holder(published(params, role), endpoint_service(params, role)),
            role=role,
            port=published(params, role),
        )
        for role in ROLES
    ]

    def read(facts: Facts) -> tuple[Mapping[str, str], str]:
        health = {}
        for role in ROLES:
            if role in facts:
                word = "".join(facts[role]).strip()
                health[role] = word if word in _HEALTH else "unknown"
        return health, line("".join(facts.get("taken", ())))

    return Probe(lines(*parts), read)


deploy = Deploy()
