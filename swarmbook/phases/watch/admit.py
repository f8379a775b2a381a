"""Phase 24, first step: who may ask the members and Consul, with the least that this takes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, container_id
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.base.secrets import Secret, register
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.support.consul_api import api
from swarmbook.phases.support.consul_tokens import Token, forget_others, lingering, tokens_there, write_token
from swarmbook.phases.support.members import of_service, service_name
from swarmbook.phases.support.preconditions import require_consul
from swarmbook.phases.watch.services import LOGIN, password_of, tokens

__all__ = ["Admitted", "Known", "admit", "login_of", "statements"]

_FILE = "/run/swarmbook-watch.sql"
#: What a server keeps of a password; anything else lets in no one that we know.
_HASH = re.compile(r"\*[0-9A-F]{40}")
#: How the login is let in, for a person.
_WORDS = "a password over TLS, to read status and variables"


@dataclass(frozen=True)
class Known:
    """What a member knows of the login.

    Args:
        container: The member's.
        hash: Of its password; empty where there is no such login, or it is let in without TLS.
        node: Where the member runs.
    """

    container: str
    hash: str = field(default="", repr=False)
    node: str = ""


@dataclass(frozen=True)
class Admitted:
    """Who is let in.

    Args:
        known: What a member knows of the login.
        marks: Of Consul's tokens that are there.
    """

    known: Known
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """The hash of the login's password, and Consul's tokens."""

    hash: str = field(repr=False)
    tokens: Sequence[Token]


_SCRIPT = """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
echo "$c" | as container
docker exec "$c" mariadb --batch --raw --skip-column-names -e @{query} 2>/dev/null | as login"""
_QUERY = (
    f"SELECT JSON_COMPACT(Priv) FROM mysql.global_priv WHERE Host = '%' AND User = '{LOGIN}'; "  # noqa: S608
    "SELECT 'whole'"
)


def login_of(service: str) -> Probe[Known | None]:
    """Ask a member for the login; None where it does not serve.

    Args:
        service: The member's service.
    """
    return Probe(sh(_SCRIPT, running=of_service(service), query=_QUERY), read_login)


def read_login(facts: Facts) -> Known | None:
    """Read the facts of :func:`login_of`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    said = [each for each in facts.get("login", ()) if each]
    if said[-1:] != ["whole"]:
        return None
    found = ""
    for row in said[:-1]:
        priv = json.loads(row)
        if int(priv.get("ssl_type", 0)) > 0 and priv.get("account_locked") is not True:
            kept = str(priv.get("authentication_string", ""))
            if _HASH.fullmatch(kept):
                register(kept)
                found = kept
    return Known(container_id("".join(facts["container"])), found)


def password_hash(password: Secret) -> str:
    """Return what the server keeps of the password: SHA-1, twice.

    https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/. The exporter's driver knows this plugin; the
    password is a random one, and goes over TLS alone.
    """
    digest = hashlib.sha1(hashlib.sha1(password.reveal().encode()).digest()).hexdigest()  # noqa: S324 - the protocol's
    made = "*" + digest.upper()
    register(made)
    return made


def statements(hash: str) -> str:
    """Build the SQL that lets the login in; without any right, an account may read status and variables.

    Args:
        hash: Of its password.
    """
    by = f"IDENTIFIED VIA mysql_native_password USING '{hash}' REQUIRE SSL WITH MAX_USER_CONNECTIONS 4"
    return (
        f"CREATE USER IF NOT EXISTS '{LOGIN}'@'%' {by};\n"
        f"ALTER USER '{LOGIN}'@'%' {by} ACCOUNT UNLOCK;\n"
        f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{LOGIN}'@'%';\n"
    )


class Admit(Step[Admitted, Wanted]):
    """Give the exporter a login of its own, and Prometheus and the exporters tokens of Consul's.

    Raises:
        OutOfOrder: No member serves, or there is no Consul.
    """

    name = "admission"

    def hosts(self, book: Book) -> int:
        return 1

    def observe(self, book: Book) -> Admitted:
        require_consul(book)
        params = book.params
        for node in book.ready(params.members()):
            found = book.fleet[node].ask(login_of(service_name(params, node)), quiet=True)
            if found is not None:
                return Admitted(replace(found, node=node), _marks(book))
        raise OutOfOrder(
            "no member serves, so no one can be let in",
            where=", ".join(params.members()),
            wanted="a member that is Synced, in a primary component",
            next="swarmbook run PARAMS --from 07",
        )

    def want(self, book: Book, seen: Admitted) -> Wanted:
        return Wanted(password_hash(password_of(book)), tokens(book))

    def plan(self, wanted: Wanted, seen: Admitted) -> list[Change]:
        changes = [Change("cluster", Action.TOKEN, (token.name,)) for token in wanted.tokens if not _there(token, seen)]
        if seen.known.hash != wanted.hash:
            changes.append(Change("cluster", Action.LOGIN, (LOGIN, _WORDS)))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Admitted, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            consul = api(book, book.ready()[0])
            named = {change.things[0] for change in todo.take(Action.TOKEN)}
            made = [token for token in wanted.tokens if token.name in named]
            for token in made:
                write_token(book, consul, token)
            # Who still has the one before is given the next one a moment later, by the next step.
            forget_others(book, consul, made)
            if todo.take(Action.LOGIN):
                host, container = book.fleet[seen.known.node], seen.known.container
                host.put(_FILE, statements(wanted.hash), mode=0o600)
                host.run(
                    sh(
                        "trap 'rm -f '@{file} EXIT; docker exec -i @{container} mariadb < @{file}",
                        container=container,
                        file=_FILE,
                    )
                )

    def verify(self, wanted: Wanted, seen: Admitted) -> list[Check]:
        login = "no such login" if not seen.known.hash else _WORDS if seen.known.hash == wanted.hash else "another"
        return [
            equal("cluster", f"{LOGIN}@'%' is let in by", _WORDS, login),
            *(
                equal(
                    "cluster", f"Consul's token {token.name}", "there", "there" if _there(token, seen) else "not there"
                )
                for token in wanted.tokens
            ),
        ]

    def assume(self, ahead: Forecast, params: Params, seen: Admitted | None) -> Admitted:
        return seen or Admitted(Known(""))


def _marks(book: Book) -> frozenset[str]:
    try:
        with book.cluster.untouched():  # a look makes no token
            return tokens_there(book, book.ready()[0])
    except WorldError:
        return frozenset()


def _there(token: Token, seen: Admitted) -> bool:
    return token.mark in seen.marks and not lingering(token, seen.marks)


admit = Admit()
