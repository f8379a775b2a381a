"""Swarm stacks: rendered to a file that ``docker stack deploy`` reads, and deployed by just that command.

What runs is what the file says, so the file in the run's folder is all you need to go on without swarmbook.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.docker_api import Engine
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book
from swarmbook.model.checks import Check, equal

__all__ = [
    "CLUSTER_LABEL",
    "SPEC_LABEL",
    "deploy",
    "ensure_secrets",
    "file",
    "none_replaced",
    "remove_secrets",
    "replaced_secrets",
    "salt_of",
    "secret_base",
    "secret_name",
    "specs",
    "stamp",
]

#: On every service: hash of its part of the file, by which a second run sees that nothing has changed.
SPEC_LABEL = "swarmbook.spec"
CLUSTER_LABEL = "swarmbook.cluster"
#: Consul's stack; Galera's is named by a parameter.
CONSUL = "consul"
_FOLDER = "/etc/swarmbook/stacks"
_HASHED = re.compile("-[0-9a-f]{10}$")


class _ForGo(yaml.SafeDumper):
    """Writes YAML for the client of Docker.

    PyYAML quotes a text that YAML 1.1 takes for a number, and the client reads YAML 1.2 (go-yaml): a hash such as
    ``8915993665174e15`` stands as it is for the one and is a float for the other, and its label becomes another text.
    So every text that could begin a number, or a time, is quoted.
    """


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if text[:1] in tuple("0123456789+-.") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_ForGo.add_representer(str, _text)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(dict(document), Dumper=_ForGo, sort_keys=False)


def stamp(cluster: str, service: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service with its labels: the cluster's, and the hash of what it says."""
    digest = hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()[:16]
    deploy = {**service.get("deploy", {}), "labels": {SPEC_LABEL: digest, CLUSTER_LABEL: cluster}}
    return {**service, "deploy": deploy}


def file(cluster: str, name: str, document: Mapping[str, Any]) -> str:
    """Render a stack file as ``docker stack deploy`` reads it.

    Args:
        cluster: The cluster's name.
        name: The stack's.
        document: What it says.
    """
    command = f"docker stack deploy --resolve-image never -c stack-{name}.yaml {name}"
    head = f"# Stack {name} of cluster {cluster}; deploy: {command}\n"
    return head + _yaml(document)


def deploy(
    book: Book, manager: str, name: str, document: Mapping[str, Any], part: Mapping[str, Any] | None = None
) -> None:
    """Deploy a stack from a manager; services that are not named are left alone.

    Args:
        book: The open book.
        manager: A manager's name.
        name: The stack's.
        document: The whole stack file; the cluster's folder keeps it.
        part: The part of it that is deployed now; all by default.
    """
    write_atomic(book.cluster.folder / "stacks" / f"{name}.yaml", file(book.cluster.name, name, document))
    host = book.fleet[manager]
    path = f"{_FOLDER}/{name}.yaml"
    host.put(path, _yaml(part or document))
    host.run(sh("docker stack deploy --resolve-image never -c @{path} @{name}", path=path, name=name))


def specs(engine: Engine, stack: str) -> dict[str, str]:
    """Return the hash on each service of a stack, by name without the stack's.

    Args:
        engine: A manager's.
        stack: The stack's name.
    """
    return {name: service.labels.get(SPEC_LABEL, "") for name, service in engine.stack_services(stack).items()}


def salt_of(cluster: Cluster) -> bytes:
    """Return what keys the hashes in the names of a cluster's secrets."""
    return cluster.secret("secret-name-salt").reveal().encode()


def secret_name(salt: bytes, name: str, content: str | bytes) -> str:
    """Return the name of a swarm secret: a secret cannot be changed, so its content's hash is part of its name.

    Args:
        salt: Keys the hash (:func:`salt_of`), so that a weak secret of the operator's own cannot be tried out on it.
        name: What it is called.
        content: What it holds.
    """
    data = content.encode() if isinstance(content, str) else content
    return f"{name}-{hmac.new(salt, data, hashlib.sha256).hexdigest()[:10]}"


def secret_base(name: str) -> str:
    """Return a swarm secret's name without the hash of its content."""
    return name.rpartition("-")[0]


def replaced_secrets(have: Iterable[str], wanted: Iterable[str], bases: Iterable[str] = ()) -> tuple[str, ...]:
    """List the swarm's secrets that others have taken the place of: what they hold should not stay in the managers' logs.

    Args:
        have: Names of those that are there.
        wanted: Full names of those that are used.
        bases: Names without hash that earlier versions used, and that have no successor.
    """
    wanted = set(wanted)
    ours = {*map(secret_base, wanted), *bases}
    return tuple(sorted(n for n in have if n not in wanted and secret_base(n) in ours and _HASHED.search(n)))


def none_replaced(have: Iterable[str], wanted: Iterable[str], bases: Iterable[str] = ()) -> Check:
    """Check that none of :func:`replaced_secrets` is left."""
    left = replaced_secrets(have, wanted, bases)
    return equal("cluster", "secrets that were replaced", "none", " ".join(left) or "none")


def remove_secrets(book: Book, manager: str, names: Iterable[str]) -> None:
    """Remove secrets of the swarm; one that a service still uses stays, and is seen by who looks again.

    Args:
        book: The open book.
        manager: A manager's name.
        names: Of the secrets.
    """
    for name in names:
        book.fleet[manager].run(sh("docker secret rm @{name}", name=name), check=False)


def ensure_secrets(book: Book, engine: Engine, wanted: Mapping[str, str | bytes], labels: Mapping[str, str]) -> None:
    """Create the swarm secrets that are not there.

    Args:
        book: The open book.
        engine: A manager's.
        wanted: Content by full name.
        labels: Labels besides the cluster's.
    """
    have = engine.secrets()
    for name, content in wanted.items():
        if name in have:
            continue
        started = time.monotonic()
        data = content.encode() if isinstance(content, str) else content
        engine.create_secret(name, data, labels={CLUSTER_LABEL: book.cluster.name, **labels})
        typed = sh("docker secret create @{name} -", name=name)
        book.transcript.record(engine.name, f"{typed}   # content over standard input", 0, time.monotonic() - started)
