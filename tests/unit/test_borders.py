"""No raw error: every exception of every library, raised at every adapter, comes out as one of ours.

The adapters are the modules that import a library; a new one that is in none of the lists here fails the first test.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import importlib
import inspect
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import types
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from swarmbook.access import docker_api, docker_images, docker_settings, identities, lease, ssh_keys
from swarmbook.access.ambient import own_environment
from swarmbook.access.commands import sh
from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_containers import Containers, ContainerSpec, Network, Privileges
from swarmbook.access.docker_images import Image
from swarmbook.access.fleet import Fleet, fan_out
from swarmbook.access.node import Endpoint
from swarmbook.access.pki import operator
from swarmbook.access.probe import Probe
from swarmbook.application.session import Login, Session, log_in
from swarmbook.base.border import KINDS, border, foreign, ours, own_fault, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import CheckFailed, SwarmbookError
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.cli import main
from swarmbook.machines import host_engine, softlayer_api
from swarmbook.machines.images import releases
from swarmbook.model.checks import Check
from swarmbook.notebook import open_book as open_in_notebook
from swarmbook.params.flat import read_flat
from swarmbook.phases.support import sql
from swarmbook.phases.support.consul_api import ConsulApi
from swarmbook.phases.watch.api import Prometheus
from swarmbook.runner.run import ours as named_by_the_runner
from swarmbook.testing.errors import raises

from .sshd import Server

ROOT = Path(__file__).resolve().parents[2]

#: Where each library keeps its exceptions.
LIBRARIES = {
    "docker": ("docker.errors", "docker.credentials.errors"),
    "requests": ("requests.exceptions",),
    "urllib3": ("urllib3.exceptions",),
    "http": ("http.client",),
    "paramiko": ("paramiko.ssh_exception", "paramiko.sftp", "paramiko.config"),
    "fabric": ("fabric.exceptions",),
    "invoke": ("invoke.exceptions",),
    "pymysql": ("pymysql.err",),
    "SoftLayer": ("SoftLayer.exceptions",),
    "yaml": ("yaml.error", "yaml.scanner", "yaml.parser", "yaml.composer", "yaml.constructor", "yaml.reader"),
    "json": ("json",),
    "filelock": ("filelock",),
    "cryptography": ("cryptography.exceptions", "cryptography.x509"),
    "nbformat": ("nbformat.validator", "nbformat.reader"),
    "nbclient": ("nbclient.exceptions",),
    "papermill": ("papermill.exceptions",),
    "jupyter_client": ("jupyter_client.kernelspec",),
    "zmq": ("zmq.error",),
    "pydantic": ("pydantic.errors",),
    "system": ("ssl", "socket", "subprocess", "zlib", "tarfile", "zipfile", "gzip", "binascii", "tomllib", "configparser"),
}  # fmt: skip
_OURS_TO_HANDLE = (KeyboardInterrupt, SystemExit, GeneratorExit, Warning)
SYSTEM = [
    OSError(errno.ENOSPC, "No space left on device", "/x/y"), OSError(errno.EMFILE, "Too many open files"), FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"),
    PermissionError(errno.EACCES, "Permission denied", "/x/y"), IsADirectoryError(errno.EISDIR, "Is a directory", "/x/y"), NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"),
    FileExistsError(errno.EEXIST, "File exists", "/x/y"), OSError(errno.EROFS, "Read-only file system", "/x/y"), OSError(errno.EIO, "Input/output error", "/x/y"),
    OSError(errno.ELOOP, "Too many levels of symbolic links", b"/x/\xff"), OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), OSError(errno.EDQUOT, "Disk quota exceeded", "/x/y"),
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), BrokenPipeError(errno.EPIPE, "Broken pipe"),
    TimeoutError("timed out"), OSError(errno.EHOSTUNREACH, "No route to host"), OSError(), EOFError(), socket.gaierror(-2, "Name or service not known"), ssl.SSLEOFError(8, "EOF occurred"),
    BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), UnicodeEncodeError("latin-1", "a€", 1, 2, "ordinal not in range(256)"),
    UnicodeError("label too long"),
]  # fmt: skip


def _made(cls: type[Exception]) -> Exception:
    """Make an exception of a class whose constructor is not known: as it would come, if that can be guessed."""
    said = types.SimpleNamespace(get_name=lambda: "ed25519", get_base64=lambda: "AAAA", explanation="", status_code=500)
    for one in ("said", 7, ["said"], {("127.0.0.1", 9): OSError(111, "refused")}, said):
        with contextlib.suppress(Exception):
            made = cls("said", "a text", 0)
            str(made), repr(made)
            return made
        for count in range(7):
            with contextlib.suppress(Exception):
                made = cls(*[one] * count)
                str(made), repr(made)
                return made
    as_it_comes = {
        "__module__": cls.__module__,
        "__init__": lambda self: Exception.__init__(self, "said"),
        "original": None,
    }
    words = dict.fromkeys(("__str__", "__repr__"), lambda self: "said")
    return type(cls.__name__, (cls,), {**as_it_comes, **words})()


def _foreign() -> Iterator[Exception]:
    for modules in LIBRARIES.values():
        for name in modules:
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError:  # tomllib is there from Python 3.11 on
                continue
            for found in vars(module).values():
                if (
                    isinstance(found, type)
                    and issubclass(found, Exception)
                    and not issubclass(found, (*_OURS_TO_HANDLE, SwarmbookError))
                    and found.__module__.partition(".")[0] == name.partition(".")[0]
                ):
                    yield _made(found)
    yield json.JSONDecodeError("Expecting value", "a secret text", 0)
    yield yaml.MarkedYAMLError(problem="found 'a secret text'", problem_mark=yaml.Mark("x", 0, 3, 0, None, None))
    yield subprocess.CalledProcessError(7, ["apt-get"])
    yield zlib.error("Error -3 while decompressing data")
    yield from SYSTEM


FOREIGN = list(_foreign())
#: Said by what a step meets, and as much about itself as a step does.
FIELDS = ("what", "where", "seen", "next")


class Broken:
    """Whatever it is asked for, it gives; as soon as it is used, it raises."""

    def __init__(self, error: Exception) -> None:
        self.__dict__["_error"] = error

    def __getattr__(self, name: str) -> Broken:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise _fresh(self._error)

    __call__ = __iter__ = __getitem__ = __enter__ = __len__ = __contains__ = __setitem__ = _raise

    def __exit__(self, *_: object) -> None: ...


def _fresh(error: Exception) -> Exception:
    """Return an error as it is raised for the first time."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    if isinstance(error, SwarmbookError):
        raise TypeError("one of ours")
    return error


class Gone:
    """A transport that has died."""

    def __init__(self, error: Exception) -> None:
        self.transport, self.sftp = Broken(error), Broken(error)

    def close(self) -> None: ...


# -- who imports a library ---------------------------------------------------------------------------------------------

_LOOKED_FOR = {
    "docker", "requests", "urllib3", "paramiko", "fabric", "invoke", "pymysql", "SoftLayer", "yaml", "filelock", "nbformat",
    "nbclient", "papermill", "jupyter_client", "zmq", "cryptography",
}  # fmt: skip

#: Modules that ask a service, a host or an engine by a library: broken one by one below.
ADAPTERS = {
    "swarmbook.access.docker_api", "swarmbook.access.docker_containers", "swarmbook.access.docker_images", "swarmbook.access.docker_settings", "swarmbook.access.hosts", "swarmbook.access.identities", "swarmbook.access.lease",
    "swarmbook.access.ssh_keys", "swarmbook.machines.images.releases", "swarmbook.machines.softlayer_api", "swarmbook.params.flat",
    "swarmbook.phases.support.consul_api", "swarmbook.phases.support.sql", "swarmbook.application.session", "swarmbook.phases.watch.api",
}  # fmt: skip

#: Modules that use one on files and values of this computer, or in here only: what they raise meets the border of who called them
#: (a step, a book that is opened, a notebook that is executed, a command), which is tried with every error as well.
WITHIN = {
    "swarmbook.access.answers": "called by the adapters",
    "swarmbook.access.tls": "called by the adapters",
    "swarmbook.access.cluster": "a lock on a file",
    "swarmbook.access.pki": "keys and certificates of the cluster's folder",
    "swarmbook.base.known": "a file of this package",
    "swarmbook.machines.rehearsal.account": "a lock on a file, within the rehearsal's own service",
    "swarmbook.notebook": "imports for a warm kernel",
    "swarmbook.params.walkthrough": "writes a parameter file",
    "swarmbook.phases.start.form": "writes a parameter file",
    "swarmbook.phases.support.repository": "a lock on a file",
    "swarmbook.phases.support.stack": "writes a stack's file",
    "swarmbook.phases.watch.config": "writes Prometheus's settings",
    "swarmbook.record.envelope": "reads a signature; what cannot be read is not believed",
    "swarmbook.record.notebooks": "reads notebooks of a run",
    "swarmbook.record.signing": "reads keys; what cannot be read signs nothing",
    "swarmbook.runner.execution": "notebooks that are executed",
    "swarmbook.runner.failure": "notebooks that are executed",
    "swarmbook.runner.hooks": "after the run; test_hooks.py breaks it with every kind of error",
    "swarmbook.runner.kernels": "kernels of notebooks that are executed",
    "swarmbook.runner.papermill_engine": "notebooks that are executed",
    "swarmbook.runner.pulse": "kernels of notebooks that are executed",
    "swarmbook.runner.run": "notebooks that are executed",
}


def _importers() -> set[str]:
    found = set()
    for file in sorted((ROOT / "swarmbook").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if {name.partition(".")[0] for name in names} & _LOOKED_FOR and not module.startswith("swarmbook.testing"):
                found.add(module)
    # They have no library of their own, and use what hosts gives them.
    return found | {"swarmbook.access.lease", "swarmbook.access.docker_images"}


def test_every_module_that_uses_a_library_is_broken_here_or_stands_within_a_border() -> None:
    known = ADAPTERS | WITHIN.keys()
    assert _importers() - known == set(), "break it below, and name it in ADAPTERS; or say in WITHIN who calls it"
    assert known - _importers() == set(), "it uses no library any more"


def test_the_border_knows_every_library_that_is_installed_for_a_run() -> None:
    named = set().union(*(kind.packages for kind in KINDS))
    assert named >= _LOOKED_FOR and LIBRARIES.keys() - {"system"} <= named


# -- adapters, method by method ----------------------------------------------------------------------------------------


def _value(kind: Any, name: str) -> Any:
    """Make an argument of a type, as an introspected signature wants it."""
    if kind in (int, float):
        return 7
    if kind is bool:
        return False
    if kind is bytes:
        return b"content"
    if kind is Path:
        return Path("/nowhere/at-all")
    if kind is Image:
        return Image("sha256:abc", ("a:1",))
    if kind is Network:
        return Network("id", "net", "10.0.0.0/24")
    if kind is ContainerSpec:
        return ContainerSpec("image", {"a": "b"}, {"v": "/x"}, Privileges(), network="net", publish={22: None})
    if kind is Secret:
        return Secret("pw", "Vo4ieghu8eeNgei")
    if kind is softlayer_api.Spec:
        return _spec()
    if getattr(kind, "__origin__", None) is Probe:
        return Probe(sh("true"), lambda facts: facts)
    origin = typing.get_origin(kind)
    if origin in (Mapping, dict, __import__("collections").abc.Mapping):
        return {"a": "b"}
    if origin is __import__("collections").abc.Callable:
        return lambda *_: None
    if origin is not None:
        return ["a"]
    return sh("true") if name == "command" else "a:1"


def _spec() -> Any:
    fields = typing.get_type_hints(softlayer_api.Spec)
    return softlayer_api.Spec(**{name: _value(kind, name) for name, kind in fields.items()})


def _arguments(function: Callable[..., Any], skip: int = 1) -> dict[str, Any]:
    hints = typing.get_type_hints(function)
    wanted = list(inspect.signature(function).parameters.values())[skip:]
    return {
        each.name: _value(hints.get(each.name, str), each.name)
        for each in wanted
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL) and each.default is each.empty
    }


def _methods(cls: type, *without: str) -> list[str]:
    return [
        name
        for name, found in vars(cls).items()
        if isinstance(found, types.FunctionType) and not name.startswith("_") and name not in without
    ]


Trial = Callable[[Exception, pytest.MonkeyPatch, Any], Any]
#: Answers that a method may give when nothing answers: it is made to ask whether something does.
TOLERANT = {"pull_image": False, "reachable": False, "leader": "", "has_image": False, "image_content": ""}


def _consul(error: Exception, patch: pytest.MonkeyPatch, book: Book) -> ConsulApi:
    authority = book.authority(importlib.import_module("swarmbook.access.pki").Purpose.CONSUL)
    patch.setattr("requests.Session.request", Broken(error)._raise)
    return ConsulApi("sw1", Endpoint("127.0.0.1", 8501), authority.file, Secret("token", "Vo4ieghu8eeNgei"))


def _prometheus(error: Exception, patch: pytest.MonkeyPatch, _: Any) -> Prometheus:
    patch.setattr("requests.Session.request", Broken(error)._raise)
    return Prometheus("sw1", 9)


def _softlayer(error: Exception, patch: pytest.MonkeyPatch, _: Any) -> Any:
    import SoftLayer

    patch.setattr(SoftLayer.transports.XmlRpcTransport, "__call__", Broken(error)._raise)
    return softlayer_api.SoftLayerApi("http://127.0.0.1:9/xmlrpc/v3.1", "Vo4ieghu8eeNgei", sleep=lambda _: None)


def _host(error: Exception, _: pytest.MonkeyPatch, book: Book) -> Any:
    host = book.fleet["sw1"]
    host._connection = Gone(error)
    return host


def _trials() -> Iterator[tuple[str, Trial]]:
    def of(make: Callable[..., Any], method: str) -> Trial:
        def trial(error: Exception, patch: pytest.MonkeyPatch, book: Any) -> Any:
            called = getattr(make(error, patch, book), method)
            return called(**_arguments(called, 0))

        return trial

    def engine(error: Exception, *_: Any) -> Engine:
        return Engine(Broken(error), "sw1")

    for method in _methods(Engine, "asked", "close"):
        yield f"Engine.{method}", of(engine, method)
    for method in _methods(Containers):
        yield f"Containers.{method}", of(lambda *given: Containers(engine(*given)), method)
    for name in docker_images.__all__:
        if isinstance(getattr(docker_images, name), types.FunctionType):
            yield (
                name,
                lambda error, patch, book, name=name: getattr(docker_images, name)(
                    engine(error), **_arguments(getattr(docker_images, name))
                ),
            )
    yield "send_images, reading", lambda error, *_: docker_api.send_images(engine(error), ["a"], {"b": Engine(Broken(error), "b")})  # fmt: skip
    yield "connect", _connect
    for method in _methods(ConsulApi, "read_back", "holding"):
        yield f"ConsulApi.{method}", of(_consul, method)
    for method in _methods(Prometheus):
        yield f"Prometheus.{method}", of(_prometheus, method)
    for method in _methods(softlayer_api.SoftLayerApi, "close"):
        yield f"SoftLayerApi.{method}", of(_softlayer, method)
    for method in ("run", "ask", "put"):
        yield f"Host.{method}", of(_host, method)
    yield "Host.connection", _login
    yield "Host.connection, pinned keys", _pins
    yield "Lease", lambda error, patch, book: lease.Lease(_host(error, patch, book), "lab", "me")
    yield "scan_host_key, connecting", lambda error, patch, _: _scan(patch, "socket.create_connection", error)
    yield "scan_host_key, asking", lambda error, patch, _: _scan(patch, "paramiko.Transport", error)
    yield "held_by", _agent
    yield "reachable", _reachable
    yield "sql.connect", lambda error, patch, book: _member(error, patch, book, connecting=True)
    yield "sql, a statement", lambda error, patch, book: _member(error, patch, book, connecting=False)
    yield "session.log_in", lambda error, patch, _: _log_in(error, patch)
    yield "session.ask", lambda error, *_: Session(Broken(error), "sw1").ask("SELECT 1")
    yield "session.write", lambda error, *_: Session(Broken(error), "sw1").write("INSERT", [(1,)])
    yield "session.commit", lambda error, *_: Session(Broken(error), "sw1").commit()


def _connect(error: Exception, patch: pytest.MonkeyPatch, book: Book) -> Any:
    purpose = importlib.import_module("swarmbook.access.pki").Purpose.ENGINE
    authority = book.authority(purpose)
    patch.setattr("docker.DockerClient", Broken(error))
    return docker_api.connect("sw1", Endpoint("127.0.0.1", 9), authority.file, operator(authority))


def _login(error: Exception, patch: pytest.MonkeyPatch, book: Book) -> Any:
    patch.setattr("fabric.Connection.open", Broken(error)._raise)
    return book.fleet["sw1"].connection()


def _pins(error: Exception, patch: pytest.MonkeyPatch, book: Book) -> Any:
    patch.setattr("paramiko.SSHClient.load_host_keys", Broken(error)._raise)
    return book.fleet["sw1"].connection()


def _scan(patch: pytest.MonkeyPatch, where: str, error: Exception) -> Any:
    if where == "paramiko.Transport":
        one, other = socket.socketpair()
        other.close()
        patch.setattr("socket.create_connection", lambda *_: one)
    patch.setattr(where, Broken(error)._raise)
    return ssh_keys.scan_host_key(Endpoint("127.0.0.1", 9), 1)


def _agent(error: Exception, patch: pytest.MonkeyPatch, _: Any) -> Any:
    patch.setattr("paramiko.agent.AgentSSH._connect", Broken(error)._raise)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(f"{folder}/agent")
        listener.listen()
        return identities.held_by(f"{folder}/agent")


def _reachable(error: Exception, patch: pytest.MonkeyPatch, _: Any) -> Any:
    patch.setattr("requests.head", Broken(error)._raise)
    return releases.reachable("https://nowhere.example", 5)


def _log_in(error: Exception, patch: pytest.MonkeyPatch) -> Session:
    patch.setattr("pymysql.connect", Broken(error)._raise)
    login = Login("app", Secret("pw", "Vo4ieghu8eeNgei"), "app")
    return log_in("sw1", "127.0.0.1", 9, login, ssl.create_default_context())


def _member(error: Exception, patch: pytest.MonkeyPatch, book: Book, *, connecting: bool) -> None:
    host = book.fleet["sw1"]
    patch.setattr(sql, "_address", lambda *_: "172.18.0.3")
    patch.setattr(host, "forward", lambda *_: contextlib.nullcontext(9))
    opened = types.SimpleNamespace(close=lambda: None, cursor=Broken(error))
    patch.setattr("pymysql.connect", Broken(error)._raise if connecting else lambda **_: opened)
    with sql.connect(book, "sw1") as connection, connection.cursor():
        pass


TRIALS = dict(_trials())


@pytest.mark.parametrize("name", TRIALS)
def test_an_adapter_makes_every_foreign_error_ours(
    name: str, open_book: Callable[..., Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = open_book("08")
    raw, named = [], 0
    for error in FOREIGN:
        with monkeypatch.context() as patch:
            try:
                answer = TRIALS[name](error, patch, book)
            except SwarmbookError as caught:
                named += 1
                missing = [field for field in FIELDS if not getattr(caught, field)]
                if missing:
                    raw.append(f"{type(error)} {error!r}: says no {', '.join(missing)}: {caught}")
            except Exception as caught:
                raw.append(f"{type(error)} {error!r}: came out as {caught!r}")
            else:
                kind = name.rpartition(".")[2]
                if kind not in TOLERANT or answer != TOLERANT[kind]:
                    raw.append(f"{type(error)} {error!r}: was taken for the answer {answer!r}")
    assert not raw, "\n".join(raw[:20])
    assert named or name.rpartition(".")[2] in TOLERANT


def test_a_fault_in_our_own_code_is_not_taken_for_the_worlds() -> None:
    for fault in (KeyError("x"), TypeError("x"), AttributeError("x"), ZeroDivisionError("x"), AssertionError("x")):
        with pytest.raises(type(fault)), border("asked"):
            raise fault
        with pytest.raises(type(fault)):
            fan_out(lambda _, fault=fault: (_ for _ in ()).throw(fault), {"sw1": 1})


# -- the borders that all else meets -----------------------------------------------------------------------------------


def _step(error: Exception, open_book: Callable[..., Book]) -> None:
    @look()
    def meets(book: Book) -> list[Check]:
        raise _fresh(error)

    meets(open_book("08"))


def _opened(error: Exception, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("swarmbook.notebook.Book", Broken(error)._raise)
    open_in_notebook("05", dict(vars(_params())))


def _params() -> Any:
    return importlib.import_module("swarmbook.params").Params()


BORDERS: dict[str, Callable[[Exception, Callable[..., Book], pytest.MonkeyPatch], Any]] = {
    "a step": lambda error, open_book, patch: _step(error, open_book),
    "several at once": lambda error, open_book, patch: fan_out(Broken(error)._raise, {"sw1": 1}),
    "border": lambda error, open_book, patch: _within(error),
}


def _within(error: Exception) -> None:
    with border():
        raise _fresh(error)


@pytest.mark.parametrize("name", BORDERS)
def test_what_no_adapter_has_met_becomes_ours_at_the_border(
    name: str, open_book: Callable[..., Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in FOREIGN:
        with pytest.raises(SwarmbookError) as caught:
            BORDERS[name](error, open_book, monkeypatch)
        assert all(getattr(caught.value, field) for field in FIELDS), (error, str(caught.value))
        assert caught.value.code is not Code.OWN_FAULT and caught.value.exit_code == 3


def test_a_command_ends_with_one_message_whatever_was_raised() -> None:
    for error in [*FOREIGN, KeyError("x"), RecursionError("deep"), MemoryError()]:
        if isinstance(error, (BrokenPipeError, click.ClickException)):
            continue  # who reads our output has gone

        @main.command("breaks")
        def breaks(error: Exception = error) -> None:
            raise _fresh(error)

        try:
            done = CliRunner().invoke(main, ["breaks"])
        finally:
            main.commands.pop("breaks")
        assert done.exit_code == 3 and "Traceback" not in done.output, (error, done.output, done.exception)
        for label in ("where:", "seen:", "next:"):
            assert label in done.output, (error, done.output)


def test_an_error_names_its_file_and_what_to_do() -> None:
    full = ours(OSError(errno.ENOSPC, "No space left on device", "/x/y"))
    assert full.code is Code.NO_ROOM_HERE and full.where == "/x/y" and "df -h" in (full.next or "")
    assert "explain" not in str(full), "the full disk of a node is another matter"
    assert ours(OSError(errno.EMFILE, "Too many open files")).code is Code.TOO_MANY_FILES
    missing = ours(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"))
    assert missing.code is Code.FILE_FAILED and missing.where == "/x/y"
    elsewhere = ours(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"), where="sw1")
    assert elsewhere.where == "sw1" and "/x/y" in (elsewhere.seen or "")


def test_an_error_does_not_repeat_the_text_that_could_not_be_read() -> None:
    for error in (
        UnicodeEncodeError("latin-1", "Hunter€2", 6, 7, "ordinal not in range(256)"),
        json.JSONDecodeError("Expecting value", "Hunter2Hunter2", 0),
        yaml.MarkedYAMLError(problem="found 'Hunter2Hunter2'", problem_mark=yaml.Mark("x", 0, 3, 0, None, None)),
    ):
        assert foreign(error) and "Hunter" not in str(ours(error)) and "€" not in words(error)


def test_a_check_that_failed_stays_one_at_every_border() -> None:
    failed = CheckFailed("no")
    assert ours(failed) is failed and named_by_the_runner(failed) is failed and not foreign(failed)


# -- files that someone put there -------------------------------------------------------------------------------------


def test_sshd_without_sftp_takes_files_all_the_same(
    fleet: Callable[..., Fleet], server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "without"
    folder.mkdir()
    without = Server(folder, Subsystem="other /bin/false")
    try:
        host = fleet(port=without.port, host_key=without.key)["sw1"]
        without.authorized.write_text(server.authorized.read_text())
        assert host.run(sh("echo here")).stdout == "here\n"
        host.put(str(tmp_path / "x"), "content")
        assert (tmp_path / "x").read_text() == "content"
    finally:
        without.stop()


@pytest.mark.parametrize("settings", [{"credsStore": "nowhere-at-all"}, {"credHelpers": {"ghcr.io": "nowhere-at-all"}}])
def test_credentials_whose_helper_is_not_here_are_left_out(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docker

    (tmp_path / "config.json").write_text(json.dumps({**settings, "auths": {"a.example": {}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    client = docker.DockerClient(base_url="tcp://127.0.0.1:9", version="1.41")
    with pytest.raises(Exception, match="nowhere-at-all"):
        client.api._auth_configs.get_all_credentials()
    docker_settings.without_missing_helpers(client)
    assert client.api._auth_configs.get_all_credentials() == {"a.example": {}}


def test_a_credential_helper_that_fails_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker

    helper = tmp_path / "docker-credential-broken"
    helper.write_text("#!/bin/sh\necho the keychain is locked\nexit 1\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "broken"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    client = docker.DockerClient(base_url="tcp://127.0.0.1:9", version="1.41")
    docker_settings.without_missing_helpers(client)
    with raises(Code.CREDENTIALS_REFUSED, "config.json", "keychain is locked"):
        docker_images.build_image(
            Engine(client, "this computer"), "a:1", b"", "Dockerfile", arguments={}, labels={}, say=lambda _: None
        )


def test_settings_of_docker_that_cannot_be_read_are_named_and_no_engine_that_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_book: Callable[..., Book]
) -> None:
    (tmp_path / "config.json").write_text('{"auths": {"a.example": "not a mapping"}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with raises(Code.ENGINE_SETTINGS_NOT_READ, "config.json"):
        docker_api.local_engine()
    purpose = importlib.import_module("swarmbook.access.pki").Purpose.ENGINE
    authority = open_book("03").authority(purpose)
    with raises(Code.ENGINE_SETTINGS_NOT_READ, "config.json"):
        docker_api.connect("sw1", Endpoint("127.0.0.1", 9), authority.file, operator(authority))


@pytest.mark.parametrize("leads", ["unix:///nope.sock", "tcp://host:abc", "tcp://1.2.3.4:99999", "nonsense", "fd://"])
@pytest.mark.parametrize("command", [["plan"], ["run"], ["prune"], ["images"]])
def test_an_engine_that_is_named_and_does_not_answer_is_named(
    command: list[str], leads: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", leads)
    monkeypatch.setattr(host_engine, "own_environment", own_environment)
    for folder in ("notebooks", "params"):
        (home / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(home)
    (home / "p.yaml").write_text("cluster: nowhere-at-all\n")
    given = [] if command == ["prune"] else [str(home / "p.yaml")]
    done = CliRunner().invoke(main, [*command, *given])
    assert done.exit_code == 3 and leads in done.output and "DOCKER_HOST" in done.output, done.output


@pytest.mark.parametrize(
    ("module", "content"), [("secrets", "open('/nowhere/at/all')"), ("random", "PIN = 7"), ("uuid", "NAMES = []")]
)
def test_a_file_that_shadows_a_module_of_python_is_named(module: str, content: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(content + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "swarmbook", "params"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert f"{tmp_path}/{module}.py" in done.stderr and "PYTHONPATH" in done.stderr


def test_a_fault_that_a_shadow_may_have_caused_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_fault(AttributeError("module 'secrets' has no attribute 'token_hex'")).code is Code.OWN_FAULT
    (tmp_path / "secrets.py").write_text("PASSWORD = 7\n")
    (tmp_path / "mine.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    fault = own_fault(AttributeError("module 'secrets' has no attribute 'token_hex'"))
    assert fault.code is Code.MODULE_SHADOWED and fault.where == f"{tmp_path}/secrets.py"


def test_yaml_of_any_form_is_a_mistake_with_its_line() -> None:
    for text in ("a: [", "a: *b", "a: !!python/object:os.system x", "\x00", "a: &x [*x]", "? [a]\n: b", "- a"):
        values, _, mistakes = read_flat(text)
        assert mistakes or values, text
