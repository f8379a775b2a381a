"""Live tests: a real lab, driven by the command line in processes of its own, as a person would.

One lab a file, and the tests of a file tell its story in the order in which they stand:

- ``test_main_job.py``: three nodes, the commands of README, as they are typed; this one is in ``make test``
- ``test_no_lab.py``: what is refused before there is a machine
- ``test_book.py``: three nodes, the whole book, a fourth node, a second database, cancel
- ``test_fire.py``: two nodes; processes killed at every border of the notebooks and inside them, and what is claimed after it
- ``test_canaries.py``: one node, secrets by reference, and a search for them in all that is kept or can be listed
- ``test_watch.py``: three nodes that are watched; alerts, each by a fault
- ``test_generic.py``: two hosts that belong to someone, direct and by way of a jump host
- ``test_preflight.py``: two nodes with something wrong, found before anything is put on them
- ``test_by_hand.py``: three nodes; every box of commands in the notebooks, typed
- ``test_use.py``: three nodes and an application that works while the writer is killed
- ``test_backup.py``: two nodes; a dropped table comes back, and what cannot be restored touches nothing
- ``test_repositories.py``: no lab; backups in places that are no folder
- ``test_browser.py``: two nodes, built in JupyterLab by a browser, and replayed by nbval
- ``test_disks.py``: no lab; every layout of the second disk on a machine with a kernel of its own
- ``test_hardship.py``: two nodes; killed runs, broken disks, engines, networks and keys, destroy, rebuild, cancel

The files do not depend on each other, and each stands its lab up when its first test asks for it. Within a file a test that
needs a finished cluster says so by :meth:`Lab.need`, which builds it where no test before has: ``pytest -k`` of a single one works.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import swarmbook
from swarmbook.access.docker_containers import run_in
from swarmbook.machines.rehearsal.service import lab_name

# What is tested is the package that is installed, with the notebooks that lie beside it.
ROOT = Path(swarmbook.__file__).resolve().parents[1]
LABEL = "swarmbook.cluster"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)
            # Only the Docker SDK of the tests' own process can leave one (seen once, on a busy engine); what is tested runs in processes of its own.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))
            item.add_marker(
                pytest.mark.filterwarnings(
                    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
                )
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when in ("setup", "call"):
        from .witness import hear  # which imports this file

        hear(item, report)
    return report


@dataclass(frozen=True)
class Done:
    """A command that has ended, and what it said."""

    command: str
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def __str__(self) -> str:
        return f"\n$ {self.command}\n{self.out}{self.err}[exit {self.code}]"

    def expect(self, code: int, *parts: str) -> Done:
        """Ended with this code, said all of these, and no traceback."""
        assert self.code == code, f"exit {self.code}, wanted {code}:{self}"
        for part in parts:
            assert part in self.said, f"did not say {part!r}:{self}"
        assert "Traceback" not in self.said, f"a traceback:{self}"
        return self

    def refused(self, code: int, *parts: str) -> Done:
        """An error as it should be: what, where, and what to do next."""
        return self.expect(code, "where:", "next:", *parts)

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"not JSON:{self}") from None


def program(name: str) -> list[str]:
    """A command of this environment."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{path} is not there: pip install -e '.[test]'"
    return [str(path)]


#: Seconds after which whatever is waited for hangs: far more than a busy machine takes, and less than a test may take in all.
BOUND_S = 300.0
#: The same for a whole command: on a fresh machine the first one builds the images too.
COMMAND_S = 900.0
#: ... and seconds after which what a killed run has started "goes on": its kernels look once a second whether it is there.
SOON_S = 60.0


def until(
    what: Callable[[], Any],
    *,
    timeout: float = BOUND_S,
    pause: float = 0.05,
    why: str | Callable[[], str] = "it did not happen",
) -> Any:
    """Waits for something to become true, bounded."""
    limit = time.monotonic() + timeout
    while not (found := what()):
        assert time.monotonic() < limit, why if isinstance(why, str) else why()
        time.sleep(pause)
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that no one listens at just now."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)
        ]
        return [int(listener.getsockname()[1]) for listener in listeners]


class Running:
    """A command that goes on; its output lies in a file, so that no pipe can fill up."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.command, self._log = " ".join(command), log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, what: Callable[[], Any], pause: float = 0.02) -> Any:
        """Waits for a moment of this run; it must not have ended before."""

        def look() -> Any:
            found = what()
            if not found and self.process.poll() is not None:
                raise AssertionError(f"it ended before the moment that was waited for:{self._done()}")
            return found

        limit = time.monotonic() + BOUND_S
        while not (found := look()):
            assert time.monotonic() < limit, f"the moment did not come:\n{self.said}"
            time.sleep(pause)
        return found

    def send(self, signum: signal.Signals) -> Done:
        self.process.send_signal(signum)
        return self.wait()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stands still meanwhile, and goes on afterwards."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def wait(self, timeout: float = COMMAND_S) -> Done:
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {timeout:g} s:{self._done()}") from None
        return self._done()

    def _done(self) -> Done:
        code = self.process.returncode
        return Done(self.command, -1000 if code is None else code, self.said, "")


class Machine:
    """A machine of the lab, touched from outside: through the engine it runs on, not through the book."""

    def __init__(self, docker: Any, container: str) -> None:
        self._docker, self.container = docker, container

    @property
    def there(self) -> bool:
        return bool(self._docker.api.containers(all=True, filters={"name": f"^/{self.container}$"}))

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self._docker.api.inspect_container(self.container)
        return found

    def try_sh(self, script: str) -> tuple[int, str]:
        """Run a script to its end; returns its exit code and what it said."""
        code, said = run_in(self._docker.api, self.container, ["sh", "-c", f"(\n{script}\n) 2>&1"])
        return code, said.decode(errors="replace").strip()

    def sh(self, script: str) -> str:
        code, output = self.try_sh(script)
        assert code == 0, f"on {self.container}: {script}\n{output}\n[exit {code}]"
        return output

    def stop(self) -> None:
        self._docker.api.stop(self.container, timeout=30)

    def start(self) -> None:
        self._docker.api.start(self.container)


#: Who may do everything in a lab's database, by a certificate: as whom tests look at it.
ADMIN = "dba"


class Lab:
    """A home with the book in it, and the lab of one cluster.

    Args:
        home: An empty folder: ``notebooks/`` and ``params/`` are put there.
        docker: The engine that the machines run on.
        nodes: Names of the nodes.
        params: Further parameters.
    """

    def __init__(self, home: Path, docker: Any, nodes: list[str], **params: Any) -> None:
        self.home, self.docker = home, docker
        self.name = f"t-{secrets.token_hex(3)}"
        self.params = {
            "cluster": self.name,
            "nodes": nodes,
            "overlay_network": "backend",
            "mariadb_admin": ADMIN,
            # Labs with workers have client agents: with the Consul that needs no network they have to be asked for by name.
            "consul_source": "debian",
            **params,
        }
        self._running: list[Running] = []
        self._built: Done | None = None
        self._dirty = False
        self._listed: dict[str, list[dict[str, str]]] = {}
        #: What its parameter files' names begin with.
        self.stem = "lab"
        if (home / "notebooks").exists():  # beside another lab
            self.stem = self.name
            return
        shutil.copytree(ROOT / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        (home / "params").mkdir()

    # -- commands ----------------------------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        """The caller's environment, without what would name another home or cluster."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SWARMBOOK_")}
        # The coverage and warnings settings of the tests' own process are not for its children, nor is the make that started it,
        # nor the window that readline claims to know of where pytest starts workers.
        for key in ("PYTHONWARNINGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "COLUMNS", "LINES"):
            kept.pop(key, None)
        return {**kept, "SWARMBOOK_HOME": str(self.home)}

    def file(self, **changes: Any) -> str:
        """A parameter file with these changes; its path below the home."""
        name = "-".join([self.stem, *(key.replace("_", "") for key in changes)])[:60]
        path = Path("params") / f"{name}.yaml"
        (self.home / path).write_text(yaml.safe_dump({**self.params, **changes}, sort_keys=False))
        return str(path)

    def call(
        self,
        command: list[str],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = COMMAND_S,
    ) -> Done:
        """Run any command in the home, to its end."""
        try:
            done = subprocess.run(
                command,
                cwd=self.home,
                env={**self.env, **(env or {})},
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = b"".join(part for part in (error.stdout, error.stderr) if isinstance(part, bytes)).decode(
                errors="replace"
            )
            raise AssertionError(f"still running after {timeout:g} s: {' '.join(command)}\n{said}") from None
        return Done(
            " ".join(["swarmbook" if part == program("swarmbook")[0] else part for part in command]),
            done.returncode,
            done.stdout,
            done.stderr,
        )

    def swarmbook(self, *arguments: str, **options: Any) -> Done:
        """``swarmbook ARGUMENTS``, word by word."""
        return self.call([*program("swarmbook"), *arguments], **options)

    def book(self, verb: str, *arguments: str, env: Mapping[str, str] | None = None, **changes: Any) -> Done:
        """``swarmbook VERB PARAMS ARGUMENTS``, with changed parameters."""
        self._dirty = True
        return self.swarmbook(verb, self.file(**changes), *arguments, env=env)

    def make(self, target: str) -> Done:
        """``make TARGET`` in the repository, with this home and parameters."""
        self._dirty = True
        return self.call(["make", "-C", str(ROOT), target, f"PARAMS={self.home / self.file()}"])

    def start(
        self, verb: str, *arguments: str, env: Mapping[str, str] | None = None, log: Path | None = None, **changes: Any
    ) -> Running:
        """The same, going on."""
        self._dirty = True
        command = [*program("swarmbook"), verb, self.file(**changes), *arguments]
        running = Running(
            command, {**self.env, **(env or {})}, self.home, log or self.home / f"out-{len(self._running)}.txt"
        )
        self._running.append(running)
        return running

    def ssh(self, node: str, *command: str, input: str | None = None) -> Done:
        if shutil.which("ssh") is None:
            pytest.skip("no OpenSSH client here")
        return self.swarmbook("ssh", node, *command, input=input)

    # -- what is there -----------------------------------------------------------------------------------------

    def machine(self, node: str) -> Machine:
        return Machine(self.docker, f"swarmbook-{self.name}-{node}")

    def host(self, node: str) -> Machine:
        """One that ``lab-hosts`` stood up."""
        return Machine(self.docker, f"swarmbook-{self.name}-hosts-{node}")

    @property
    def folder(self) -> Path:
        return self.home / "clusters" / self.name

    @property
    def runs(self) -> list[Path]:
        """The run folders, oldest first."""
        return sorted(
            (self.home / "runs" / self.name).glob("*/"), key=lambda path: (path.stat().st_ctime_ns, path.name)
        )

    def summary(self) -> dict[str, Any]:
        """What the last run left."""
        found: dict[str, Any] = json.loads((self.runs[-1] / "summary.json").read_text())
        return found

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def admin(self, cluster: str = "galera") -> ssl.SSLContext:
        """What lets the administrator in to a database."""
        context = ssl.create_default_context(cafile=str(self.ca("database")))
        leaf = self.folder / "pki" / "database" / f"{cluster}.{ADMIN}"
        context.load_cert_chain(f"{leaf}.pem", f"{leaf}.key")
        return context

    def ca(self, purpose: str) -> Path:
        """What clients are given to trust: ``consul``, ``database``, ``engine`` or ``replication``."""
        return self.folder / "pki" / purpose / "ca.pem"

    def end(self, node: str, port: int) -> str:
        """How a port of a node is reached, by ``swarmbook ls``; asked again when the inventory has changed."""
        inventory = (self.folder / "cluster.json").read_text()
        if inventory not in self._listed:
            self._listed[inventory] = self.swarmbook("ls", "--json", "--cluster", self.name).expect(0).json
        return str(next(row for row in self._listed[inventory] if row["node"] == node)[f"port {port}"])

    def leftovers(self) -> list[str]:
        """All that carries the cluster's label on the engine."""
        api, found = self.docker.api, []
        for only in self._labelled:
            found += [f"container {entry['Names'][0]}" for entry in api.containers(all=True, filters=only)]
            found += [f"volume {entry['Name']}" for entry in api.volumes(filters=only)["Volumes"] or []]
            found += [f"network {entry['Name']}" for entry in api.networks(filters=only)]
        return sorted(found)

    @property
    def _labelled(self) -> list[dict[str, str]]:
        """What is the cluster's own, what the rehearsal of this home has made, and what stands for a user's own hosts."""
        return [{"label": f"{LABEL}={name}"} for name in (self.name, lab_name(self.home), f"{self.name}-hosts")]

    def kernels(self) -> list[int]:
        """Processes that a run of this cluster has started and that are still there."""
        mark, found = f"SWARMBOOK_LOCK_OWNER={self.name}:".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    # -- stages ------------------------------------------------------------------------------------------------

    def need(self, build: Callable[[], Done] | None = None) -> Done:
        """A finished cluster: builds it where none is, and tells how that went."""
        if self._built is None:
            self._built = build() if build else self.book("run")
        self._built.expect(0)
        return self._built

    def unbuilt(self) -> None:
        """The next test that needs a cluster has to build it."""
        self._built = None

    # -- the end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Takes everything away, whatever state it is in."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        try:
            if self._dirty and (self.leftovers() or self.folder.exists()):
                with contextlib.suppress(AssertionError):
                    self.book("cancel", "--yes")
        finally:
            self._sweep()

    def _sweep(self) -> None:
        """The last resort, without the library: by the label of this cluster alone."""
        api = self.docker.api
        for only in self._labelled:
            for entry in api.containers(all=True, filters=only):
                name = entry["Names"][0].lstrip("/")
                if entry["State"] == "running":
                    with contextlib.suppress(Exception):
                        Machine(self.docker, name).try_sh("lab-machine detach")
                api.remove_container(name, force=True, v=True)
            for entry in api.volumes(filters=only)["Volumes"] or []:
                api.remove_volume(entry["Name"], force=True)
            for entry in api.networks(filters=only):
                api.remove_network(entry["Id"])


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Any]:
    """The engine of this computer; started by swarmbook where none runs, and stopped again then."""
    import docker
    from docker.errors import DockerException

    def client() -> Any:
        found = docker.from_env(timeout=300)
        try:
            found.ping()
        except BaseException:
            found.close()
            raise
        return found

    def by_swarmbook(function: str) -> None:
        # In a process of its own: the engine must not be a child of the tests.
        code = f"from swarmbook.machines import host_engine as h\nfrom swarmbook.base.errors import SwarmbookError\ntry:\n    h.{function}()\nexcept SwarmbookError as e:\n    raise SystemExit(str(e))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(
                f"the live tests need a Docker Engine (without them: pytest -m 'not live')\n{done.stderr}",
                pytrace=False,
            )

    # Several processes may test at once (`-n 2`): one starts the engine, and the last that needs it stops it.
    place = Path(tempfile.gettempdir()) / f"swarmbook-tests-{os.getuid()}"
    with open(f"{place}.users", "a") as users, open(f"{place}.start", "a+") as start:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(start, fcntl.LOCK_EX)
        try:
            found = client()
        except (DockerException, OSError):
            by_swarmbook("ensure_engine")
            start.write("ours")
            start.flush()
            found = client()
        fcntl.flock(start, fcntl.LOCK_UN)
        yield found
        found.close()
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            start.seek(0)
            if start.read():
                start.truncate(0)
                by_swarmbook("stop_own_engine")


@pytest.fixture(scope="module")
def make_lab(docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Makes labs that are taken away when the file is through, also when it failed."""
    labs: list[Lab] = []

    def make(nodes: list[str], *, beside: Lab | None = None, **params: Any) -> Lab:
        home = beside.home if beside else tmp_path_factory.mktemp("home")
        labs.append(Lab(home, docker_engine, nodes, **params))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()
    left = {lab.name: lab.leftovers() for lab in labs}
    assert not any(left.values()), f"left behind: {left}"


class Watch:
    """Looks at every process of this computer, and so of the lab's machines, while it runs: command lines and environments."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(0.15):
            for folder in os.scandir("/proc"):
                if folder.name.isdigit():
                    for name in ("cmdline", "environ"):
                        with contextlib.suppress(OSError):
                            self.seen.add(Path(folder.path, name).read_bytes())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.fixture(scope="session")
def watch() -> type[Watch]:
    return Watch
