"""The Docker SDK behind one adapter: engines reached over mutual TLS, images sent to many of them at once.

Commands that change a swarm are typed into a node's shell by the phases (so that the transcript holds them as one would
type them); the API is used where that would show a secret, where bulk data flows, and for quick reading while waiting.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swarmbook.access.cluster import Endpoint
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, SwarmbookError, WorldError
from swarmbook.base.known import recognise

__all__ = ["connect", "local_engine", "send_images"]

_TIMEOUT_S = 60
_CHUNK = 1 << 20


def connect(name: str, end: Endpoint, pki: Path) -> Any:
    """A client for a node's engine: its certificate is checked against the cluster's CA, and ours is shown.

    Args:
        name: The node.
        end: Where its API is reached from here.
        pki: Folder with ``ca.pem``, ``client.pem`` and ``client.key``.

    Raises:
        EngineUnavailable: It does not answer, or not with a certificate of our CA.
    """
    import docker
    import docker.tls

    tls = docker.tls.TLSConfig(
        client_cert=(str(pki / "client.pem"), str(pki / "client.key")),
        ca_cert=str(pki / "ca.pem"),
        verify=True,  # without it docker-py takes any certificate
    )
    try:
        client = docker.DockerClient(base_url=f"tcp://{end}", tls=tls, timeout=_TIMEOUT_S, version="1.41")
        client.api.trust_env = False  # REQUESTS_CA_BUNDLE in the environment would replace our CA
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise EngineUnavailable(
            f"the engine's API on {name} does not answer",
            where=f"{name} ({end})",
            wanted="Docker's API over mutual TLS, with a certificate of the cluster's CA",
            seen=str(error),
            next="swarmbook run PARAMS --only 03",
        ) from None
    return client


def local_engine() -> Any | None:
    """The Docker Engine of this machine as the environment names it, or None when none answers."""
    import docker

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except (docker.errors.DockerException, OSError):
        return None
    return client


def send_images(source: Any, names: list[str], targets: Mapping[str, Any]) -> None:
    """Send images from one engine to many, reading them once.

    Args:
        source: The engine that has them.
        names: Tags.
        targets: Clients by node name.

    Raises:
        WorldError: An engine refused them (a full disk, say); names all that did.
    """
    if not targets or not names:
        return
    queues: dict[str, queue.Queue[bytes | None]] = {name: queue.Queue(maxsize=8) for name in targets}
    failures: dict[str, str] = {}

    def load(name: str) -> None:
        chunks = iter(queues[name].get, None)
        try:
            for event in targets[name].api.load_image(chunks):
                if "error" in event:
                    failures[name] = event["error"]
        except Exception as error:  # whatever it was, the reader must not be left waiting at a full queue
            failures[name] = str(error)
        for _ in chunks:  # an iterator that has met its end stays at its end
            pass

    threads = [threading.Thread(target=load, args=(name,), daemon=True) for name in targets]
    for thread in threads:
        thread.start()
    # One archive for all of them: layers that they share are read and sent once.
    response = source.api._get(source.api._url("/images/get"), params={"names": names}, stream=True)
    try:
        if response.status_code != 200:
            raise WorldError(
                "the engine here does not give out the images",
                where=", ".join(names),
                seen=response.text[:500],
                next="docker images",
            )
        for chunk in response.iter_content(_CHUNK):
            for waiting in queues.values():
                waiting.put(chunk)
    finally:
        response.close()
        for waiting in queues.values():
            waiting.put(None)
        for thread in threads:
            thread.join()
    if failures:
        seen = "\n".join(f"{name}: {text}" for name, text in sorted(failures.items()))
        raise WorldError(
            "an engine did not take an image",
            where=", ".join(sorted(failures)),
            seen=seen,
            next=f"look at the space: swarmbook ssh {min(failures)} df -h /var/lib/docker",
            code=recognise(seen) or Code.IMAGE_NOT_TAKEN,
        )


def api_errors(node: str, what: str, error: Exception) -> SwarmbookError:
    """One of our errors for one of the SDK's, with the engine's own words kept."""
    explanation = getattr(error, "explanation", None) or str(error)
    return WorldError(
        f"{what} failed",
        where=node,
        seen=str(explanation),
        code=recognise(str(explanation)) or Code.ENGINE_SAYS_NO,
        next=f"look at it: swarmbook ssh {node} journalctl -u docker -n 50",
    )
