"""The Docker SDK behind one adapter: nothing else imports it. Engines, reached over mutual TLS, answer in our types and raise our errors.

Commands that change a swarm are typed into a node's shell by the phases (so that the transcript holds them as one would
type them); the API is used where that would show a secret, where bulk data flows, and for quick reading while waiting.
Containers, and images that are built, are in :mod:`swarmbook.access.docker_containers` and :mod:`swarmbook.access.docker_images`.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmbook.access.ambient import own_environment
from swarmbook.access.answers import bound
from swarmbook.access.docker_settings import settings_wrong, without_missing_helpers
from swarmbook.access.docker_types import Info, JoinTokens, Service, SwarmNode, labels, object_names
from swarmbook.access.node import Endpoint
from swarmbook.access.pki import Leaf
from swarmbook.access.probe import number, understood
from swarmbook.access.tls import NamedAdapter, NamedContext
from swarmbook.base.border import foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, WorldError
from swarmbook.base.known import recognise

__all__ = [
    "Engine",
    "Info",
    "JoinTokens",
    "Service",
    "SwarmNode",
    "connect",
    "local_engine",
    "send_images",
]

_TIMEOUT_S = 60
_LOCAL_TIMEOUT_S = 600
#: What the phases know how to talk to: engines from 20.10 on.
_API_VERSION = "1.41"
_CHUNK = 1 << 20
#: Characters of what an engine says is wrong.
_MOST_WORDS = 4000
#: Seconds that an engine may take with an image once all of it was sent, however much it says meanwhile.
_UNPACK_S = 600


class Engine:
    """A Docker Engine that answers.

    Every method raises a :class:`~swarmbook.base.errors.WorldError` with the engine's own words when it refuses, and
    :class:`~swarmbook.base.errors.EngineUnavailable` when it does not answer. Its code is what the words mean, where
    that is known; ``not-found`` for what is not there; else ``engine-says-no``.

    Args:
        client: The SDK's.
        name: The node, or ``this computer``.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Engine({self.name})"

    @contextlib.contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Turn the SDK's errors into ours.

        Args:
            what: What is asked for, as in ``creating the secret NAME``.
        """
        import docker.credentials
        import docker.errors

        try:
            yield
        except docker.errors.NotFound as error:
            raise self._refused(what, error, Code.NOT_FOUND) from None
        except (docker.errors.APIError, docker.errors.BuildError, docker.errors.ImageLoadError) as error:
            raise self._refused(what, error, Code.ENGINE_SAYS_NO) from None
        except (docker.credentials.StoreError, docker.errors.InvalidConfigFile) as error:
            raise settings_wrong(what, error) from None
        except Exception as error:
            if not foreign(error):
                raise
            raise EngineUnavailable(
                f"the engine's API on {self.name} does not answer",
                where=self.name,
                wanted=what,
                seen=words(error),
                next=self._next,
            ) from None

    def _refused(self, what: str, error: Exception, code: Code) -> WorldError:
        words = str(getattr(error, "explanation", None) or error)[:_MOST_WORDS]
        return WorldError(f"{what} failed", where=self.name, seen=words, next=self._next, code=recognise(words) or code)

    @property
    def _next(self) -> str:
        return "docker info" if self.name == _HERE else f"swarmbook ssh {self.name} journalctl -u docker -n 50"

    # -- the engine --------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Make sure that it answers."""
        with self.asked("a ping"):
            self.client.ping()

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def about(self) -> Info:
        """Return what the engine says about itself."""
        with self.asked("docker info"):
            found = self.client.api.info()
        with understood(self.name):
            return Info.from_json(found)

    # -- images ------------------------------------------------------------------------------------------------

    def has_image(self, tag: str) -> bool:
        """Tell whether the engine has an image."""
        return self._image(tag) is not None

    def image_labels(self, tag: str) -> Mapping[str, str]:
        """Return the labels of an image.

        Raises:
            WorldError: It has no such image (``not-found``).
        """
        found = self._known_image(tag)
        with understood(self.name):
            return labels((found.get("Config") or {}).get("Labels"))

    def image_size(self, tag: str) -> int:
        """Return the size of an image in bytes.

        Raises:
            WorldError: It has no such image (``not-found``).
        """
        found = self._known_image(tag)
        with understood(self.name):
            return number(found["Size"])

    def image_id(self, tag: str) -> str:
        """Return the id of an image: the hash of what is in it, ``sha256:...``.

        Raises:
            WorldError: It has no such image (``not-found``).
        """
        return str(self._known_image(tag)["Id"])

    def image_content(self, tag: str) -> str:
        """Return the SHA-256 of an image's layers, in hex; empty where it has no such image.

        It is the same on every engine, however that stores images; an id is not.
        """
        if (found := self._image(tag)) is None:
            return ""
        with understood(self.name):
            layers = [str(layer) for layer in found["RootFS"]["Layers"]]
        return hashlib.sha256("\n".join(layers).encode()).hexdigest()

    def image_digest(self, tag: str) -> str:
        """Return an image's name with the digest that a registry knows it by; empty where none does."""
        found = self._known_image(tag)
        with understood(self.name):
            return min((str(digest) for digest in found.get("RepoDigests") or ()), default="")

    def _image(self, tag: str) -> dict[str, Any] | None:
        try:
            return self._known_image(tag)
        except WorldError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return None

    def _known_image(self, tag: str) -> dict[str, Any]:
        with self.asked(f"docker image inspect {tag}"):
            return dict(self.client.api.inspect_image(tag))

    # -- the swarm; of a manager -------------------------------------------------------------------------------

    def swarm_nodes(self) -> list[SwarmNode]:
        """List the nodes of the engine's swarm.

        Raises:
            Refused: The engine's answer is not what it should be.
        """
        with self.asked("docker node ls"):
            found = self.client.api.nodes()
        with understood(self.name):
            return [SwarmNode.from_json(entry) for entry in found]

    def stack_services(self, stack: str) -> dict[str, Service]:
        """Return the services of a stack by name, without the stack's name in front."""
        with self.asked(f"docker stack services {stack}"):
            found = self.client.api.services(filters={"label": f"com.docker.stack.namespace={stack}"})
        with understood(self.name):
            services = [Service.from_json(entry) for entry in found]
        return {service.name.removeprefix(f"{stack}_"): service for service in services}

    def secrets(self) -> frozenset[str]:
        """Return the names of the swarm's secrets."""
        with self.asked("docker secret ls"):
            found = self.client.api.secrets()
        with understood(self.name):
            return object_names(found)

    def configs(self) -> frozenset[str]:
        """Return the names of the swarm's configs."""
        with self.asked("docker config ls"):
            found = self.client.api.configs()
        with understood(self.name):
            return object_names(found)

    def create_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> None:
        """Create a secret of the swarm: over the API, since on a command line or in a file it could be read."""
        with self.asked(f"creating the secret {name}"):
            self.client.api.create_secret(name, content, labels=dict(labels))

    def create_config(self, name: str, content: bytes, labels: Mapping[str, str]) -> None:
        """Create a config of the swarm."""
        with self.asked(f"creating the config {name}"):
            self.client.api.create_config(name, content, labels=dict(labels))

    def join_tokens(self) -> JoinTokens:
        """Return the tokens that a node needs to join the engine's swarm."""
        with self.asked("docker swarm join-token"):
            found = self.client.api.inspect_swarm()
        with understood(self.name):
            return JoinTokens.from_json(found)

    def join_swarm(self, remote: str, token: str, *, listen: str, advertise: str) -> None:
        """Join a swarm: over the API, since on a command line the token could be read by everybody on the node.

        Args:
            remote: Address and port of a manager.
            token: One of :meth:`join_tokens`.
            listen: Address and port where it listens.
            advertise: Its address for the others, also for what overlays carry.
        """
        with self.asked(f"joining the swarm at {remote}"):
            self.client.api.join_swarm(
                [remote], token, listen_addr=listen, advertise_addr=advertise, data_path_addr=advertise
            )


_HERE = "this computer"


def connect(name: str, end: Endpoint, authority: Path, operator: Leaf) -> Engine:
    """Reach a node's engine: its certificate has to be of the engines' CA and name the node, and ours is shown.

    Args:
        name: The node.
        end: Where its API is reached from here.
        authority: File of the engines' CA.
        operator: The operator's certificate.

    Raises:
        EngineUnavailable: It does not answer, or not with a certificate of our CA.
    """
    import docker
    import docker.tls

    try:
        tls = docker.tls.TLSConfig(ca_cert=str(authority), verify=True)  # without it docker-py takes any certificate
        context = NamedContext.of(name, authority.read_bytes(), operator)
        client = docker.DockerClient(base_url=f"tcp://{end}", tls=tls, timeout=_TIMEOUT_S, version=_API_VERSION)
        client.api.mount("https://", NamedAdapter(context))
        client.api.trust_env = False  # REQUESTS_CA_BUNDLE in the environment would replace our CA
        bound(client.api)
        _ping(client)
    except docker.errors.InvalidConfigFile as error:
        raise settings_wrong(f"the engine's API on {name}", error) from None
    except Exception as error:
        if not foreign(error):
            raise
        raise EngineUnavailable(
            f"the engine's API on {name} does not answer",
            where=f"{name} ({end})",
            wanted=f"Docker's API over mutual TLS, with a certificate of the engines' CA for {name}",
            seen=words(error),
            next="swarmbook run PARAMS --only 03",
        ) from None
    return Engine(client, name)


def local_engine() -> Engine | None:
    """Return this computer's Docker Engine, as the environment names it, or None when none answers.

    What `swarmbook env` has set names a node's, and does not count.
    """
    import docker

    try:
        client = docker.from_env(timeout=_LOCAL_TIMEOUT_S, environment=own_environment())
        _ping(client)
    except docker.errors.InvalidConfigFile as error:
        raise settings_wrong(f"the engine of {_HERE}", error) from None
    except Exception as error:
        if not foreign(error):
            raise
        return None
    without_missing_helpers(client)
    return Engine(client, _HERE)


def _ping(client: Any) -> None:
    try:
        client.ping()
    except BaseException:
        client.close()
        raise


def send_images(source: Engine, names: Sequence[str], targets: Mapping[str, Engine]) -> None:
    """Send images from one engine to many, reading them once.

    Args:
        source: The engine that has them.
        names: Tags.
        targets: Engines by node.

    Raises:
        WorldError: An engine refused them (``disk-full``, ``image-not-taken``); names all that did.
    """
    if not targets or not names:
        return
    queues: dict[str, queue.Queue[bytes | None]] = {name: queue.Queue(maxsize=8) for name in targets}
    failures: dict[str, str] = {}

    def load(name: str) -> None:
        chunks = iter(queues[name].get, None)
        sent: list[float] = []

        def sending() -> Iterator[bytes]:
            yield from chunks
            sent.append(time.monotonic())

        try:
            for event in targets[name].client.api.load_image(sending()):
                if "error" in event:
                    failures[name] = str(event["error"])[:_MOST_WORDS]
                if sent and time.monotonic() - sent[0] > _UNPACK_S:
                    raise TimeoutError(f"it has all of the image, and is not done with it after {_UNPACK_S} s")
        except Exception as error:  # whatever it was, the reader must not be left waiting at a full queue
            failures[name] = words(error)
        for _ in chunks:  # an iterator that has met its end stays at its end
            pass

    threads = [threading.Thread(target=load, args=(name,), daemon=True) for name in targets]
    for thread in threads:
        thread.start()
    api = source.client.api
    try:
        with source.asked("docker save " + " ".join(names)):
            # One archive for all of them: layers that they share are read and sent once.
            response = api._get(api._url("/images/get"), params={"names": list(names)}, stream=True)
            try:
                api._raise_for_status(response)
                for chunk in response.iter_content(_CHUNK):
                    for waiting in queues.values():
                        waiting.put(chunk)
            finally:
                response.close()
    finally:
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
            next=f"check the space: swarmbook ssh {min(failures)} df -h /var/lib/docker",
            code=recognise(seen) or Code.IMAGE_NOT_TAKEN,
        )
