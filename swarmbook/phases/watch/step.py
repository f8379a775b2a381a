"""Phase 24, second step: Prometheus and the exporters, as services of the swarm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.material import Material
from swarmbook.params import Params
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import (
    ensure_images,
    image_materials,
    image_of,
    image_sboms,
    missing_images,
    recipe_of,
)
from swarmbook.phases.support.members import WATCHERS, of_service, watch_service, watch_stack
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.prepared import changes_for, nodes_with, prepare
from swarmbook.phases.watch.services import FOLDER, Wanted, image_nodes, wanted_watch

__all__ = ["Watch", "deploy"]

_LINE = f"{FOLDER}/node"
#: Of the folder whose metrics the exporter of the node passes on.
_README = "/etc/swarmbook/metrics/README"
_ABOUT = "Metrics of this node's own programs: each *.prom here, which anyone may read, is passed on to Prometheus.\n"


@dataclass(frozen=True)
class OnNode:
    """What watches on a node.

    Args:
        line: What says there who it is.
        running: Services of which a container runs there.
        healthy: Prometheus says that it is ready.
    """

    line: str = ""
    running: frozenset[str] = frozenset()
    healthy: bool = False


@dataclass(frozen=True)
class Watch:
    """What watches, as it is.

    Args:
        nodes: What is on each node.
        lacking: By node, tags of images that are not there.
        configs: Names of the swarm's configs.
        secrets: Names of the swarm's secrets.
        specs: Hash on each service.
        prepared: Nodes whose label lets the node exporter start there.
    """

    nodes: Mapping[str, OnNode]
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    configs: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    specs: Mapping[str, str] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()


def on_node(params: Params) -> Probe[OnNode]:
    """Ask what watches on a node.

    Args:
        params: The parameters.
    """
    prometheus = watch_service(params, "prometheus")
    script = sh(
        """cat @{line} 2>/dev/null | as line
docker ps --filter @{stack} --format '{{.Label "com.docker.swarm.service.name"}}' | as running
c=$(@!{prometheus} -q | head -n 1)
[ -z "$c" ] || docker inspect --format '{{.State.Health.Status}}' "$c" | as health""",
        line=_LINE,
        stack=f"label=com.docker.stack.namespace={watch_stack(params)}",
        prometheus=of_service(prometheus),
    )
    known = {watch_service(params, part): part for part in WATCHERS}

    def read(facts: Facts) -> OnNode:
        running = frozenset(known[name] for name in facts["running"] if name in known)
        line = "\n".join(facts["line"]).strip()
        return OnNode(f"{line}\n" if line else "", running, "".join(facts.get("health", ())).strip() == "healthy")

    return Probe(script, read)


def late(wanted: Wanted, seen: Watch) -> list[str]:
    """List what does not run yet, for a person."""
    said = [f"{node}: no node-exporter" for node, on in seen.nodes.items() if "node-exporter" not in on.running]
    if not any(on.healthy for on in seen.nodes.values()):
        said.append("Prometheus is not ready")
    if not any("mysqld-exporter" in on.running for on in seen.nodes.values()):
        said.append("no mysqld-exporter")
    return said


class Deploy(Step[Watch, Wanted]):
    """Start Prometheus on a manager, an exporter on every node, and one that asks the members.

    Raises:
        OutOfOrder: There is no swarm.
    """

    name = "watch"

    def observe(self, book: Book) -> Watch:
        client, params = book.engine(require_swarm(book)), book.params
        tags = {node: [image_of(book, name) for name in names] for node, names in image_nodes(params).items()}
        ready = book.ready()
        lacking = missing_images(book.engines(), {node: tags[node] for node in ready})
        return Watch(
            book.fleet.each(lambda host: host.ask(on_node(params), quiet=True), ready),
            {node: found for node, found in lacking.items() if found},
            client.configs(),
            client.secrets(),
            stack.specs(client, watch_stack(params)),
            nodes_with(client, watch_stack(params)),
        )

    def want(self, book: Book, seen: Watch) -> Wanted:
        return wanted_watch(book)

    def plan(self, wanted: Wanted, seen: Watch) -> list[Change]:
        changes = [
            # Not by the content: until an image is built no one knows it, and a plan would not be the same after that.
            Change(node, Action.IMAGES, tuple(tag.partition("-")[0] for tag in lacking))
            for node, lacking in seen.lacking.items()
        ]
        changes += [
            Change(node, Action.PUT_FILES, (_LINE,))
            for node, line in wanted.lines.items()
            if seen.nodes[node].line != line
        ]
        changes += changes_for(watch_stack(wanted.params), wanted.lines, seen.prepared)
        changes += [
            Change("cluster", Action.SECRET, (stack.secret_base(name),))
            for name in wanted.secrets
            if name not in seen.secrets
        ]
        changes += [Change("cluster", Action.CONFIG, (name,)) for name in wanted.configs if name not in seen.configs]
        changes += [
            Change("cluster", Action.DEPLOY, (watch_service(wanted.params, name),))
            for name, spec in wanted.specs.items()
            if seen.specs.get(name) != spec
        ]
        if not changes and late(wanted, seen):
            changes.append(Change("cluster", Action.AWAIT_WATCH))
        if old := stack.replaced_secrets(seen.secrets, wanted.secrets):
            changes.append(Change("cluster", Action.REMOVE_SECRETS, old))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Watch, changes: list[Change]) -> None:
        params, manager = wanted.params, require_swarm(book)
        labels = {"swarmbook.galera": params.mariadb_cluster_name}
        with Todo(changes) as todo:
            ensure_images(book, {change.host: wanted.images[change.host] for change in todo.take(Action.IMAGES)})
            wanted = self.want(book, seen)  # the images have their whole names now
            for change in todo.take(Action.PUT_FILES):
                book.fleet[change.host].put(_README, _ABOUT)
                book.fleet[change.host].put(_LINE, wanted.lines[change.host])
            prepare(book, manager, todo.take(Action.LABEL))
            bases = {change.things[0] for change in todo.take(Action.SECRET)}
            made = {name: text for name, text in wanted.secrets.items() if stack.secret_base(name) in bases}
            stack.ensure_secrets(book, book.engine(manager), made, labels)
            for change in todo.take(Action.CONFIG):
                content = wanted.configs[change.things[0]]
                started = time.monotonic()
                book.engine(manager).create_config(
                    change.things[0], content.encode(), labels={stack.CLUSTER_LABEL: book.cluster.name, **labels}
                )
                typed = f"docker config create {change.things[0]} - <<'END'\n{content}END"
                book.transcript.record(manager, typed, 0, time.monotonic() - started)
            if todo.take(Action.DEPLOY):
                stack.deploy(book, manager, watch_stack(params), wanted.document)
            todo.take(Action.AWAIT_WATCH)
            self._wait(book, wanted)
            for change in todo.take(Action.REMOVE_SECRETS):
                stack.remove_secrets(book, manager, change.things)

    def _wait(self, book: Book, wanted: Wanted) -> None:
        client = book.engine(require_swarm(book))

        def done() -> tuple[bool, str]:
            seen = Watch(book.fleet.each(lambda host: host.ask(on_node(wanted.params), quiet=True), book.ready()))
            rolling = [
                f"{name}: update {service.update}"
                for name, service in client.stack_services(watch_stack(wanted.params)).items()
                if service.update not in ("", "completed")
            ]
            missing = [*late(wanted, seen), *rolling]
            return not missing, "; ".join(missing)

        wait_for(
            "Prometheus and the exporters run",
            done,
            timeout_s=wanted.params.wait_timeout,
            where="cluster",
            next=f"swarmbook ssh {wanted.params.nodes[0]} docker service ps --no-trunc {watch_service(wanted.params, 'prometheus')}",
            first_s=0.3,
        )

    def verify(self, wanted: Wanted, seen: Watch) -> list[Check]:
        rows = [
            equal("cluster", f"service {watch_service(wanted.params, name)}", "as the file says", "as the file says" if seen.specs.get(name) == spec else "another")
            for name, spec in wanted.specs.items()
        ]  # fmt: skip
        rows.append(equal("cluster", "does not run yet", "none", "; ".join(late(wanted, seen)) or "none"))
        return [*rows, stack.none_replaced(seen.secrets, wanted.secrets)]

    def files(self, book: Book, wanted: Wanted) -> Mapping[str, str]:
        name = watch_stack(wanted.params)
        found = {f"stack-{name}.yaml": stack.file(book.cluster.name, name, wanted.document)}
        node = next((node for node in book.ready() if len(wanted.images[node]) == len(wanted.tags)), "")
        tags = list(wanted.tags.values())
        if node and not any(missing_images({node: book.engine(node)}, {node: tags}).values()):
            found |= image_sboms(book.engine(node), tags)
        return found

    def materials(self, book: Book, wanted: Wanted, seen: Watch) -> list[Material]:
        tags = {node: [wanted.tags[name] for name in wanted.images[node]] for node in seen.nodes}
        return image_materials(book.engines(seen.nodes), tags)

    def assume(self, ahead: Forecast, params: Params, seen: Watch | None) -> Watch:
        known = seen or Watch({})
        names = image_nodes(params)
        new = [node for node in params.nodes if node not in known.nodes]
        return Watch(
            {**known.nodes, **{node: OnNode() for node in new}},
            {**known.lacking, **{node: tuple(recipe_of(params, name).tag for name in names[node]) for node in new}},
            known.configs,
            known.secrets,
            known.specs,
            known.prepared - set(new),
        )


deploy = Deploy()
