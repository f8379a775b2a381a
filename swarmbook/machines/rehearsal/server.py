"""The rehearsal's two wires, XML-RPC and REST, over one HTTP server that only this computer reaches."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import threading
import xmlrpc.client
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from swarmbook.machines.rehearsal.cloud import Answer, Call, Cloud
from swarmbook.machines.rehearsal.faults import HttpFailure, ServiceError

__all__ = ["Rehearsal"]

_PREFIX = "SoftLayer_"
#: Bytes of a call. An order of 50 instances is below a tenth of it.
_MOST = 1 << 20
#: Seconds after which a connection on which nothing comes is closed.
_SILENCE_S = 300
_XMLRPC, _REST = "/xmlrpc/v3.1", "/rest/v3.1"


class Rehearsal:
    """A server for a :class:`Cloud`, on 127.0.0.1 and a port that is free; runs while it is entered.

    Args:
        cloud: What answers.
        port: 0: any free one.
    """

    def __init__(self, cloud: Cloud, port: int = 0) -> None:
        self.cloud = cloud
        self._stopping = threading.Event()
        cloud.pause = self._stopping.wait  # a fault that waits must not keep the server from stopping
        self._server = _Server(("127.0.0.1", port), cloud)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="rehearsal", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def xmlrpc(self) -> str:
        """The client's ``endpoint_url`` for XML-RPC."""
        return self.url + _XMLRPC

    @property
    def rest(self) -> str:
        """The client's ``endpoint_url`` for REST."""
        return self.url + _REST

    @property
    def key(self) -> str:
        """The key to call it with."""
        return self.cloud.api_key

    def __enter__(self) -> Rehearsal:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open would be waited for
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cloud: Cloud) -> None:
        self.cloud = cloud
        super().__init__(address, _Handler)
        self.names = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that has given up waiting is what some faults are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    server_version = "swarmbook-REHEARSAL"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the cloud keeps its calls."""

    def _answer(self) -> None:
        # A page in a browser of this computer can be made to call here, under a name of its own that leads to 127.0.0.1.
        if self.headers.get("Host", "") not in self.server.names:
            return self._refuse(421, b"REHEARSAL: not called by this name")
        length = self.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= _MOST):
            return self._refuse(413, b"REHEARSAL: too long")
        body = self.rfile.read(int(length))
        path = urlsplit(self.path).path
        if path.startswith(_XMLRPC + "/"):
            self._answer_xmlrpc(path, body)
        elif path.startswith(_REST + "/"):
            self._answer_rest(path, body)
        else:
            self._send(404, b"REHEARSAL: not found", "text/plain")

    def _refuse(self, status: int, words: bytes) -> None:
        self.close_connection = True  # what it sends is not read
        self._send(status, words, "text/plain")

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _send(self, status: int, body: bytes, kind: str, total: int | None = None) -> None:
        """Send head and body in one write: in two, Nagle and delayed acknowledgement cost 40 ms a call."""
        head = [
            f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}",
            f"Server: {self.server_version}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        if total is not None:
            head.append(f"softlayer-total-items: {total}")
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    # -- XML-RPC -----------------------------------------------------------------------------------------------

    def _answer_xmlrpc(self, path: str, body: bytes) -> None:
        try:
            params, method = xmlrpc.client.loads(body)
            answer = self.server.cloud.call(
                _from_xmlrpc(path.rpartition("/")[2], method or "", params, self.headers.get("Authorization") or "")
            )
            sent = xmlrpc.client.dumps((_plain(answer.value),), methodresponse=True)
        except ServiceError as error:
            self._fault(error.code, error.message)
        except HttpFailure as failure:
            self._send(failure.status, b"REHEARSAL: no answer", "text/plain")
        except Exception as error:  # what is wrong in here must not look like a broken network
            self._fault("SoftLayer_Exception", f"REHEARSAL: {error!r}")
        else:
            self._send(200, sent.encode(), "text/xml", answer.total)

    def _fault(self, code: str, words: str) -> None:
        """Answer with a fault; the service's codes are words."""
        fault = xmlrpc.client.Fault(code, words)  # type: ignore[arg-type]
        self._send(200, xmlrpc.client.dumps(fault).encode(), "text/xml")

    # -- REST --------------------------------------------------------------------------------------------------

    def _answer_rest(self, path: str, body: bytes) -> None:
        try:
            answer: Answer = self.server.cloud.call(
                _from_rest(path, urlsplit(self.path).query, body, self.headers.get("Authorization") or "")
            )
            sent = json.dumps(_plain(answer.value))
        except ServiceError as error:
            self._send(
                error.status, json.dumps({"error": error.message, "code": error.code}).encode(), "application/json"
            )
        except HttpFailure as failure:
            self._send(failure.status, b"REHEARSAL: no answer", "text/plain")
        except Exception as error:
            self._send(
                500,
                json.dumps({"error": f"REHEARSAL: {error!r}", "code": "SoftLayer_Exception"}).encode(),
                "application/json",
            )
        else:
            self._send(200, sent.encode(), "application/json", answer.total)


def _from_xmlrpc(service: str, method: str, params: tuple[Any, ...], authorization: str) -> Call:
    """Read a call from XML-RPC.

    The first parameter holds what REST has in its address: who calls, the id, the mask, the filter, the page.
    """
    headers: Mapping[str, Any] = params[0].get("headers", {}) if params and isinstance(params[0], Mapping) else {}
    who = headers.get("authenticate", {})
    basic = _basic(authorization)  # how the client sends a key of IAM, whose user is called "apikey"
    limits = headers.get("resultLimit", {})
    mask = (headers.get("SoftLayer_ObjectMask") or headers.get(f"{service}ObjectMask") or {}).get("mask", "")
    return Call(
        f"{service.removeprefix(_PREFIX)}::{method}",
        _number((headers.get(f"{service}InitParameters") or {}).get("id")),
        tuple(params[1:]),
        mask if isinstance(mask, str) else "",
        headers.get(f"{service}ObjectFilter") or {},
        int(limits.get("limit") or 0),
        int(limits.get("offset") or 0),
        str(who.get("username", basic[0])),
        str(who.get("apiKey", basic[1])),
    )


def _from_rest(path: str, query: str, body: bytes, authorization: str) -> Call:
    parts = [unquote(part) for part in path.removeprefix(_REST).removesuffix(".json").strip("/").split("/")]
    service, method, id = parts[0], parts[-1], parts[1] if len(parts) == 3 else None
    asked = {key: values[0] for key, values in parse_qs(query).items()}
    offset, _, limit = asked.get("resultLimit", "0,0").partition(",")
    return Call(
        f"{service.removeprefix(_PREFIX)}::{method}",
        _number(id),
        tuple(json.loads(body)["parameters"]) if body.strip() else (),
        asked.get("objectMask", ""),
        json.loads(asked["objectFilter"]) if "objectFilter" in asked else {},
        int(limit or 0),
        int(offset or 0),
        *_basic(authorization),
    )


def _basic(authorization: str) -> tuple[str, str]:
    """Return user and key of HTTP's basic authentication; empty where there is none."""
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        username, _, api_key = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return username, api_key
    return "", ""


def _number(id: Any) -> int | None:
    if id is None:
        return None
    try:
        return int(id)
    except ValueError:
        raise ServiceError(
            "SoftLayer_Exception_ObjectNotFound", f"Unable to find object with id of '{id}'.", 404
        ) from None


def _plain(value: Any) -> Any:
    """Leave out what is not there: the service does so, and XML-RPC has no word for it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
