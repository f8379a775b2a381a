"""Phase 29: secrets and authorities are replaced. What has to reach the nodes, the chapters that own it bring there."""

from __future__ import annotations

import json
import secrets as _random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from swarmbook.access.commands import sh
from swarmbook.access.pki import Authority, Purpose, Stage
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check
from swarmbook.model.phases import ROTATIONS
from swarmbook.phases.support.join_tokens import NEW_JOIN_TOKENS
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["begin", "two_stages"]

#: When what was last replaced.
_FILE = "rotated.json"
#: Marks what this process has replaced: what it looks at again, it does not replace again.
_PROCESS = _random.token_hex(8)


@dataclass(frozen=True)
class Rotated:
    """When something was last replaced.

    Args:
        at: Seconds since the epoch; 0: not since the cluster was made.
        by: The process.
    """

    at: float = 0
    by: str = ""

    @property
    def words(self) -> str:
        """When, for a person."""
        return datetime.fromtimestamp(self.at, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC") if self.at else "never"


@dataclass(frozen=True)
class Due:
    """One thing that is to be replaced.

    Args:
        name: One of :data:`swarmbook.model.phases.ROTATIONS`.
        ends: It was replaced before, and what it replaced still lets in beside it: that ends now.
    """

    name: str
    ends: bool = False


class Begin(Step[Mapping[str, Rotated], Sequence[Due]]):
    """Make new secrets and authorities; the notebooks behind bring them to the nodes.

    Raises:
        UsageError: A secret comes from the environment or a file, and is not ours to replace.
        OutOfOrder: There is no authority yet.
    """

    name = "rotation"

    def observe(self, book: Book) -> Mapping[str, Rotated]:
        require_swarm(book)
        return _rotated(book)

    def want(self, book: Book, seen: Mapping[str, Rotated]) -> Sequence[Due]:
        chosen = list(ROTATIONS) if "all" in book.params.rotate else [n for n in ROTATIONS if n in book.params.rotate]
        return [Due(name, _done(seen, name) or _MAKES[name](book, name)) for name in chosen]

    def plan(self, wanted: Sequence[Due], seen: Mapping[str, Rotated]) -> list[Change]:
        return [
            Change("cluster", Action.END_OVERLAP if due.ends else Action.ROTATE, (due.name,))
            for due in wanted
            if not _done(seen, due.name)
        ]

    def apply(self, book: Book, wanted: Sequence[Due], seen: Mapping[str, Rotated], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            names = [c.things[0] for c in todo.take(Action.ROTATE)]
            ended = [c.things[0] for c in todo.take(Action.END_OVERLAP)]
        manager = book.fleet[require_swarm(book)]
        if "join-tokens" in names:
            manager.run(NEW_JOIN_TOKENS)
        if "swarm" in names:  # with an overlap, which ends by itself when every node has a new certificate
            manager.run(sh("docker swarm ca --rotate --quiet >/dev/null"), timeout_s=book.params.wait_timeout)
        # What is made aside removes nothing here.
        for purpose in Purpose:
            if purpose.value in (*names, *ended):
                book.authority(purpose).tidy()
        if "password" in ended:
            book.cluster.forget_earlier(_password_of(book))
        done = {**_rotated(book), **{name: Rotated(time.time(), _PROCESS) for name in (*names, *ended)}}
        kept = {name: {"at": when.at, "by": when.by} for name, when in done.items()}
        write_atomic(book.cluster.folder / _FILE, json.dumps(kept, indent=2) + "\n")

    def verify(self, wanted: Sequence[Due], seen: Mapping[str, Rotated]) -> list[Check]:
        return [
            Check(
                "cluster",
                due.name,
                "replaced now",
                f"replaced {seen.get(due.name, Rotated()).words}",
                _done(seen, due.name),
            )
            for due in wanted
        ]


begin = Begin()


def two_stages(book: Book) -> list[str]:
    """List what lets the earlier one in as well, until it is rotated once more; and what to do before that.

    Args:
        book: The open book.
    """
    said = []
    if Authority.there(folder := book.cluster.pki_folder / Purpose.DATABASE.value):
        authority = Authority(folder, "")
        if authority.stage is Stage.INTRODUCED:
            said.append(f"database: give the database's clients {authority.file}")
    name = _password_of(book)
    if book.cluster.earlier(name):
        said.append(f"password: give the application {book.cluster.secrets_folder / name}")
    return said


def _done(seen: Mapping[str, Rotated], name: str) -> bool:
    return seen.get(name, Rotated()).by == _PROCESS


def _rotated(book: Book) -> dict[str, Rotated]:
    file = book.cluster.folder / _FILE
    if not file.exists():
        return {}
    return {name: Rotated(**when) for name, when in json.loads(file.read_text(encoding="utf-8")).items()}


# -- each of them: made in the cluster's folder, or aside; tells whether an overlap ends ------------------------------


def _authority(book: Book, name: str) -> bool:
    purpose = Purpose(name)
    if not Authority.there(book.cluster.pki_folder / name):
        raise OutOfOrder(
            f"there is no authority to replace: {name}",
            where=str(book.cluster.pki_folder),
            next="swarmbook run PARAMS",
            code=Code.CLUSTER_NOT_THERE,
        )
    authority = book.authority(purpose)
    if purpose is Purpose.DATABASE and authority.stage is Stage.INTRODUCED:
        return authority.advance()
    # The engines are reached through SSH, and no one but the operator has to be let in meanwhile.
    authority.replace(overlap=purpose is not Purpose.ENGINE)
    return False


def _gossip_key(book: Book, name: str) -> bool:
    _ours(name, "consul_gossip_key", book.params.consul_gossip_key)
    if gone := book.params.without:  # Consul takes a ring for replaced when every agent that it knows has said so
        raise UsageError(
            f"the {name} is replaced on all agents or on none",
            where=f"--without {' --without '.join(gone)}",
            wanted="every node that Consul knows",
            next="rotate the rest now, and this one when all nodes are there",
        )
    book.cluster.replace("consul-gossip-key", secrets.gossip_key)
    return False


def _tokens(book: Book, name: str) -> bool:
    kept = [f"consul-agent-{node}-token" for node in book.params.nodes]
    kept += ["consul-dns-token", f"{book.params.mariadb_cluster_name}-consul-token"]
    if book.params.consul_management_token == "generate":  # noqa: S105 - the reference, not a token
        kept.append("consul-management-token")
    for each in kept:
        book.cluster.replace(each, secrets.token)
    return False


def _password(book: Book, name: str) -> bool:
    _ours(name, "mariadb_password", book.params.mariadb_password)
    kept = _password_of(book)
    if book.cluster.earlier(kept):
        book.cluster.forget_earlier(kept)
        return True
    book.cluster.replace(kept, secrets.password, keep=True)
    return False


def _by_the_swarm(book: Book, name: str) -> bool:
    return False


_MAKES: Mapping[str, Callable[[Book, str], bool]] = {
    **{purpose.value: _authority for purpose in Purpose},
    "gossip-key": _gossip_key,
    "consul-tokens": _tokens,
    "password": _password,
    "join-tokens": _by_the_swarm,
    "swarm": _by_the_swarm,
}


def _password_of(book: Book) -> str:
    return f"{book.params.mariadb_cluster_name}-password"


def _ours(name: str, parameter: str, reference: str) -> None:
    if reference != "generate":
        raise UsageError(
            f"the {name} is yours to replace",
            where=f"{parameter}: {reference}",
            wanted="generate",
            next="put another one there, then: swarmbook run PARAMS brings it to where it is used",
        )
