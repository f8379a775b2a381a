"""Phase 07, second half: who may log in over the network. Passwords stay here: the servers get their hashes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from swarmbook.access.pki import Purpose, Use
from swarmbook.base.errors import OutOfOrder
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.galera.logins import Login, Logins, applied, logins_of, password_hash, statements
from swarmbook.phases.support.members import service_name
from swarmbook.phases.support.sql import VERIFIER, VERIFY_SCHEMA

__all__ = ["accounts"]

#: Of earlier versions: root, over the network.
_GONE = ("root",)
_FILE = "/run/swarmbook-logins.sql"


@dataclass(frozen=True)
class Wanted:
    """The logins as they should be, by name; and the subject that administrators' certificates begin with."""

    logins: Mapping[str, Login] = field(repr=False)
    admins: str


class Accounts(Step[Logins, Wanted]):
    """Give the application's user its password, the book and the administrator their certificates; take root off the network.

    Raises:
        OutOfOrder: No member serves.
    """

    name = "accounts"

    def hosts(self, book: Book) -> int:
        return 1

    def observe(self, book: Book) -> Logins:
        names = [*_names(book.params), *_GONE]
        for node in book.ready(book.params.members()):
            found = book.fleet[node].ask(logins_of(service_name(book.params, node), names, _admins(book.params)))
            if found is not None:
                return replace(found, node=node)
        raise OutOfOrder(
            "no member serves, so no one can be let in",
            where=", ".join(book.params.members()),
            wanted="a member that is Synced, in a primary component",
            next="swarmbook run PARAMS --from 07",
        )

    def want(self, book: Book, seen: Logins) -> Wanted:
        params = book.params
        logins = {VERIFIER: Login(subject="/CN=operator", schema=VERIFY_SCHEMA)}
        if params.mariadb_user:
            name = f"{params.mariadb_cluster_name}-password"
            plugin = params.mariadb_password_plugin
            now = password_hash(plugin, book.cluster.secret(name, params.mariadb_password))
            hashes = frozenset({now, *(password_hash(plugin, earlier) for earlier in book.cluster.earlier(name))})
            # Clients still have the earlier one, and not all of them try twice.
            logins[params.mariadb_user] = Login(hashes, plugin, schema=params.mariadb_database, last=now)
        if params.mariadb_admin:
            subject = _admins(params) + params.mariadb_admin
            name = subject.removeprefix("/CN=")
            book.leaf(Purpose.DATABASE, name, [name], Use.CLIENT)
            logins[params.mariadb_admin] = Login(subject=subject)
        return Wanted(logins, _admins(params))

    def plan(self, wanted: Wanted, seen: Logins) -> list[Change]:
        changes = [
            Change("cluster", Action.LOGIN, (name, login.words))
            for name, login in wanted.logins.items()
            if seen.there.get(name) != login
        ]
        return changes + [Change("cluster", Action.REMOVE_LOGIN, (name,)) for name in _lingering(wanted, seen)]

    def apply(self, book: Book, wanted: Wanted, seen: Logins, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            made = {change.things[0]: wanted.logins[change.things[0]] for change in todo.take(Action.LOGIN)}
            gone = [change.things[0] for change in todo.take(Action.REMOVE_LOGIN)]
        host = book.fleet[seen.node]
        host.put(_FILE, statements(made, gone), mode=0o600)
        host.run(applied(seen.container, _FILE))

    def verify(self, wanted: Wanted, seen: Logins) -> list[Check]:
        rows = []
        for name, login in wanted.logins.items():
            there = seen.there.get(name)
            lets_in = there.words if there is not None else "no such login"
            if there is not None and lets_in == login.words and there != login:
                lets_in = "another password"
            rows.append(equal("cluster", f"{name}@'%' is let in by", login.words, lets_in))
        left = ", ".join(_lingering(wanted, seen))
        return [*rows, equal("cluster", "root and earlier administrators", "no login", left or "no login")]

    def assume(self, ahead: Forecast, params: Params, seen: Logins | None) -> Logins:
        return seen or Logins("", {})


accounts = Accounts()


def _admins(params: Params) -> str:
    """Return what the subjects of administrators' certificates begin with: no member's name has a dot."""
    return f"/CN={params.mariadb_cluster_name}."


def _lingering(wanted: Wanted, seen: Logins) -> list[str]:
    """List the logins that were ours and are wanted no more: root's, and those of administrators of before."""
    return [
        name
        for name, login in seen.there.items()
        if name not in wanted.logins and (name in _GONE or login.subject.startswith(wanted.admins))
    ]


def _names(params: Params) -> list[str]:
    return list(filter(None, (VERIFIER, params.mariadb_user, params.mariadb_admin)))
