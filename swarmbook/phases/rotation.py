"""Phase 29: secrets and authorities are replaced. What has to reach the nodes, the chapters that own it bring there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from swarmbook.access.commands import sh
from swarmbook.access.pki import Authority, Purpose, Stage
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError
from swarmbook.book.book import Book
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.phases import ROTATIONS
from swarmbook.phases.support.autolock import keep_new_key
from swarmbook.phases.support.join_tokens import NEW_JOIN_TOKENS
from swarmbook.phases.support.members import watch_stack
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["begin", "two_stages"]

#: What has been replaced through a book: when the step looks again, it does not replace it again.
_DONE: WeakKeyDictionary[Book, set[str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Due:
    """One thing that is to be replaced.

    Args:
        name: One of :data:`swarmbook.model.phases.ROTATIONS`.
        ends: It was replaced before, and what it replaced still lets in beside it: that ends now.
    """

    name: str
    ends: bool = False


class Begin(Step[frozenset[str], Sequence[Due]]):
    """Make new secrets and authorities; the notebooks behind bring them to the nodes.

    Raises:
        UsageError: A secret that was named is not ours to replace, or cannot be now. Of ``all`` it is passed over.
        OutOfOrder: There is no authority yet.
    """

    name = "rotation"

    def observe(self, book: Book) -> frozenset[str]:
        require_swarm(book)
        return frozenset(_DONE.get(book, ()))

    def want(self, book: Book, seen: frozenset[str]) -> Sequence[Due]:
        return [Due(name, name not in seen and _MAKES[name](book, name)) for name in _chosen(book)]

    def plan(self, wanted: Sequence[Due], seen: frozenset[str]) -> list[Change]:
        return [
            Change("cluster", Action.END_OVERLAP if due.ends else Action.ROTATE, (due.name,))
            for due in wanted
            if due.name not in seen
        ]

    def apply(self, book: Book, wanted: Sequence[Due], seen: frozenset[str], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            names = [c.things[0] for c in todo.take(Action.ROTATE)]
            ended = [c.things[0] for c in todo.take(Action.END_OVERLAP)]
        manager = book.fleet[require_swarm(book)]
        if "join-tokens" in names:
            manager.run(NEW_JOIN_TOKENS)
        if "unlock-key" in names:
            keep_new_key(book, manager.name)
        if "swarm" in names:  # with an overlap, which ends by itself when every node has a new certificate
            manager.run(sh("docker swarm ca --rotate --quiet >/dev/null"), timeout_s=book.params.wait_timeout)
        # What is made aside removes nothing here.
        for purpose in Purpose:
            if purpose.value in (*names, *ended):
                book.authority(purpose).tidy()
        if "password" in ended:
            book.cluster.forget_earlier(_password_of(book))
        _DONE.setdefault(book, set()).update(names, ended)

    def verify(self, wanted: Sequence[Due], seen: frozenset[str]) -> list[Check]:
        return [
            equal("cluster", due.name, "replaced", "replaced" if due.name in seen else "as before") for due in wanted
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


def _chosen(book: Book) -> Sequence[str]:
    """List what is to be replaced: what was named, or all that can be."""
    if "all" in book.params.rotate:
        return [name for name in ROTATIONS if not _why_not(book, name)]
    chosen: list[str] = [name for name in ROTATIONS if name in book.params.rotate]
    for name in chosen:
        if why := _why_not(book, name):
            raise UsageError(
                f"{name} is not replaced: {why}", where=f"cluster {book.cluster.name}", next=_INSTEAD[name]
            )
    return chosen


def _why_not(book: Book, name: str) -> str:
    """Say why something cannot be replaced here; nothing where it can."""
    params = book.params
    if name == "password" and not params.mariadb_user:
        return "there is no mariadb_user"
    if name == "watch-password" and not params.with_watch:
        return "with_watch is off"
    if name == "unlock-key" and not params.swarm_autolock:
        return "swarm_autolock is off"
    yours = {"password": params.mariadb_password, "gossip-key": params.consul_gossip_key}.get(name, "generate")
    if yours != "generate":
        return f"it is yours ({yours})"
    if name == "gossip-key" and params.without:
        return f"Consul has all agents replace it or none, and some are left out: {', '.join(params.without)}"
    return ""


_INSTEAD = {
    "password": "put another one where the parameter leads to, then: swarmbook run PARAMS brings it in",
    "watch-password": "set with_watch: true, then: swarmbook run PARAMS",
    "unlock-key": "set swarm_autolock: true, then: swarmbook run PARAMS",
    "gossip-key": "put another one where the parameter leads to, or wait until all nodes are there; then: swarmbook run PARAMS",
}


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
    book.cluster.replace_secret("consul-gossip-key", secrets.gossip_key)
    return False


def _tokens(book: Book, name: str) -> bool:
    kept = [f"consul-agent-{node}-token" for node in book.params.nodes]
    kept += ["consul-dns-token", f"{book.params.mariadb_cluster_name}-consul-token"]
    if book.params.with_watch:  # else 24 is not run behind it
        kept += [f"{watch_stack(book.params)}-{what}-token" for what in ("reads", "registers")]
    if book.params.consul_management_token == "generate":  # noqa: S105 - the reference, not a token
        kept.append("consul-management-token")
    for each in kept:
        book.cluster.replace_secret(each, secrets.token)
    return False


def _password(book: Book, name: str) -> bool:
    kept = _password_of(book)
    if book.cluster.earlier(kept):
        book.cluster.forget_earlier(kept)
        return True
    book.cluster.replace_secret(kept, secrets.password, keep=True)
    return False


def _watch_password(book: Book, name: str) -> bool:
    # The exporters' own: they are given it by 24 a moment after the server, and what they miss meanwhile is one look.
    book.cluster.replace_secret(f"{watch_stack(book.params)}-password", secrets.password)
    return False


def _by_the_swarm(book: Book, name: str) -> bool:
    return False


_MAKES: Mapping[str, Callable[[Book, str], bool]] = {
    **{purpose.value: _authority for purpose in Purpose},
    "gossip-key": _gossip_key,
    "consul-tokens": _tokens,
    "password": _password,
    "watch-password": _watch_password,
    "join-tokens": _by_the_swarm,
    "unlock-key": _by_the_swarm,
    "swarm": _by_the_swarm,
}


def _password_of(book: Book) -> str:
    return f"{book.params.mariadb_cluster_name}-password"
