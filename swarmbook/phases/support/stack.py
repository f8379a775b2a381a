"""Swarm stacks: rendered to a file that ``docker stack deploy`` reads, and deployed by just that command.

What runs is what the file says, so the file in the run's folder is all that somebody needs who goes on without us.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import yaml

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.docker_api import api_errors
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book

__all__ = [
    "CLUSTER_LABEL",
    "SPEC_LABEL",
    "deploy",
    "ensure_secrets",
    "file",
    "salt_of",
    "secret_base",
    "secret_name",
    "secret_names",
    "services",
    "spec_of",
    "stamp",
]

#: On every service: hash of its part of the file, by which a second run sees that nothing has changed.
SPEC_LABEL = "swarmbook.spec"
CLUSTER_LABEL = "swarmbook.access.cluster"
_FOLDER = "/etc/swarmbook/stacks"


def stamp(cluster: str, service: Mapping[str, Any]) -> dict[str, Any]:
    """A service with its labels: the cluster's, and the hash of what it says."""
    digest = hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()[:16]
    deploy = {**service.get("deploy", {}), "labels": {SPEC_LABEL: digest, CLUSTER_LABEL: cluster}}
    return {**service, "deploy": deploy}


def file(cluster: str, name: str, document: Mapping[str, Any]) -> str:
    """A stack file as ``docker stack deploy`` reads it.

    Args:
        cluster: The cluster's name.
        name: The stack's.
        document: What it says.
    """
    command = f"docker stack deploy --resolve-image never -c stack-{name}.yaml {name}"
    head = f"# Stack {name} of cluster {cluster}; deploy: {command}\n"
    return head + yaml.safe_dump(dict(document), sort_keys=False)


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
    host.put(path, yaml.safe_dump(dict(part or document), sort_keys=False))
    host.run(sh("docker stack deploy --resolve-image never -c @{path} @{name}", path=path, name=name), timeout_s=120)


def services(client: Any, stack: str) -> dict[str, dict[str, Any]]:
    """The services of a stack as the swarm knows them, by name without the stack's."""
    found = client.services.list(filters={"label": f"com.docker.stack.namespace={stack}"})
    return {service.name.removeprefix(f"{stack}_"): service.attrs for service in found}


def spec_of(attrs: Mapping[str, Any]) -> str:
    """The hash on a service."""
    return str((attrs["Spec"].get("Labels") or {}).get(SPEC_LABEL, ""))


def salt_of(cluster: Cluster) -> bytes:
    """What keys the hashes in the names of a cluster's secrets."""
    return cluster.secret("secret-name-salt").reveal().encode()


def secret_name(salt: bytes, name: str, content: str | bytes) -> str:
    """The name of a swarm secret: a secret cannot be changed, so its content's hash is part of its name.

    Args:
        salt: Keys the hash (:func:`salt_of`), so that a weak secret of the operator's own cannot be tried out on it.
        name: What it is called.
        content: What it holds.
    """
    data = content.encode() if isinstance(content, str) else content
    return f"{name}-{hmac.new(salt, data, hashlib.sha256).hexdigest()[:10]}"


def secret_base(name: str) -> str:
    """A swarm secret's name without the hash of its content."""
    return name.rpartition("-")[0]


def ensure_secrets(
    book: Book, client: Any, manager: str, wanted: Mapping[str, str | bytes], labels: Mapping[str, str]
) -> None:
    """Create the swarm secrets that are not there.

    Args:
        book: The open book.
        client: A manager's engine.
        manager: Its name.
        wanted: Content by full name.
        labels: Labels besides the cluster's.
    """
    import docker.errors

    have = secret_names(client)
    for name, content in wanted.items():
        if name in have:
            continue
        started = time.monotonic()
        data = content.encode() if isinstance(content, str) else content
        try:
            # Over the API: on a command line, or in a file on the node, it could be read.
            client.api.create_secret(name, data, labels={CLUSTER_LABEL: book.cluster.name, **labels})
        except docker.errors.APIError as error:
            raise api_errors(manager, f"creating the secret {name}", error) from None
        book.transcript.record(
            manager, f"docker secret create {name} -   # content over standard input", 0, time.monotonic() - started
        )


def secret_names(client: Any) -> set[str]:
    """Names of the swarm's secrets."""
    return {entry["Spec"]["Name"] for entry in client.api.secrets()}
