"""Who may log in to the database over the network, and by what: as it should be, and as the server says it is.

Root has no login over the network: it is let in by its member's socket alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nacl.bindings import crypto_scalarmult_ed25519_base

from swarmbook.access.commands import Script, sh
from swarmbook.access.probe import Facts, Probe, container_id, line
from swarmbook.base.secrets import Secret, register
from swarmbook.phases.support.members import of_service

__all__ = ["ED25519", "NATIVE", "Login", "Logins", "applied", "logins_of", "password_hash", "statements"]

ED25519, NATIVE = "ed25519", "mysql_native_password"
#: The server's word for a login that has to show a certificate of just one subject; 0 is one that needs no TLS.
_SUBJECT = 3
#: MariaDB's own: no password has this hash.
_NONE = "invalid"


@dataclass(frozen=True)
class Login:
    """One account ``NAME@'%'``.

    Args:
        hashes: Of the passwords that let it in, any of them; empty where a certificate does.
        last: The one among them that a server tries last: a client that tries once is let in by another. Not read back.
        plugin: How passwords are hashed; empty where a certificate lets it in.
        subject: Of the certificate that it has to show; empty where TLS is enough.
        tls: Whether it is let in over TLS alone.
        locked: Whether nothing lets it in.
        schema: The schema in which it may do everything; empty: everywhere. Not read back.
    """

    hashes: frozenset[str] = field(default=frozenset(), repr=False)
    plugin: str = ""
    subject: str = ""
    tls: bool = True
    locked: bool = False
    schema: str = field(default="", compare=False)
    last: str = field(default="", compare=False, repr=False)

    @property
    def words(self) -> str:
        """What lets it in, for a person."""
        if self.locked:
            return "nothing"
        if self.subject:
            return f"a certificate of {self.subject}"
        return f"{self.plugin or 'anyone'}, {'over TLS' if self.tls else 'also without TLS'}"


def password_hash(plugin: str, password: Secret) -> str:
    """Return what the server keeps of a password, so that the password itself is sent nowhere.

    Sources: https://mariadb.com/kb/en/authentication-plugin-ed25519/ (the public key of the key pair whose secret is the
    password) and https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/ (SHA-1, twice).

    Args:
        plugin: ``ed25519`` or ``mysql_native_password``.
        password: The password.
    """
    data = password.reveal().encode()
    if plugin == ED25519:
        public = crypto_scalarmult_ed25519_base(hashlib.sha512(data).digest()[:32])
        made = base64.b64encode(public).decode().rstrip("=")
    else:
        made = "*" + hashlib.sha1(hashlib.sha1(data).digest()).hexdigest().upper()  # noqa: S324 - the protocol's
    register(made)
    return made


@dataclass(frozen=True)
class Logins:
    """What a member says.

    Args:
        container: The member's.
        there: The logins that were asked for, as far as there are any.
        node: Where the member runs.
    """

    container: str
    there: Mapping[str, Login]
    node: str = ""


# -- what is there -----------------------------------------------------------------------------------------------------

_NAME = re.compile("[a-z][a-z0-9_]{0,31}")
_QUERY = (
    "SELECT JSON_OBJECT('name', User, 'priv', JSON_COMPACT(Priv)) FROM mysql.global_priv "
    "WHERE Host = '%' AND (User IN (NAMES) OR JSON_VALUE(Priv, '$.x509_subject') LIKE 'SUBJECT%') "
    "AND User REGEXP '^[a-z][a-z0-9_]{0,31}$'; "
    "SELECT 'whole'"
)
_SCRIPT = """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
echo "$c" | as container
docker exec "$c" mariadb --batch --raw --skip-column-names -e @{query} 2>/dev/null | as logins"""


def logins_of(service: str, names: Iterable[str], subject: str) -> Probe[Logins | None]:
    """Ask a member for some logins; None where it does not serve.

    Args:
        service: The member's service.
        names: Of the logins.
        subject: Beginning of the subjects of certificates by which others are let in that are asked for as well.
    """
    query = _QUERY.replace("NAMES", ", ".join(f"'{name}'" for name in names)).replace("SUBJECT", subject)
    return Probe(sh(_SCRIPT, running=of_service(service), query=query), read_logins)


def read_logins(facts: Facts) -> Logins | None:
    """Read the facts of :func:`logins_of`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    said = [each for each in facts.get("logins", ()) if each]
    if said[-1:] != ["whole"]:
        return None
    rows = [json.loads(each) for each in said[:-1]]
    found = {_name(str(row["name"])): _login(row["priv"]) for row in rows}
    return Logins(container_id("".join(facts["container"])), found)


def _name(text: str) -> str:
    """Parse a login's name: one that is to be removed goes into a statement, so it is held to what a parameter may be."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"no name of a login: {text[:80]!r}")
    return text


def _login(priv: Mapping[str, Any]) -> Login:
    ways = [way or priv for way in priv.get("auth_or", [priv])]
    plugins = {line(str(way.get("plugin", NATIVE))) for way in ways}
    hashes = {str(way.get("authentication_string", "")) for way in ways} - {""}
    for each in hashes:
        register(each)
    kind = int(priv.get("ssl_type", 0))
    return Login(
        frozenset(hashes),
        " or ".join(sorted(plugins)) if hashes else "",
        line(str(priv.get("x509_subject", ""))) if kind == _SUBJECT else "",
        tls=kind > 0,
        locked=priv.get("account_locked") is True or hashes == {_NONE},
    )


# -- what makes it so --------------------------------------------------------------------------------------------------


def statements(logins: Mapping[str, Login], gone: Sequence[str]) -> str:
    """Build the SQL that makes logins, or makes them what they should be, and removes others.

    Args:
        logins: By name; names, schemas and subjects are of parameters that hold no quote.
        gone: Names of those to be removed.
    """
    made = [f"DROP USER IF EXISTS '{name}'@'%';" for name in gone]
    for name, login in logins.items():
        ways = " OR ".join(
            f"{login.plugin} USING '{each}'" for each in sorted(login.hashes, key=lambda h: (h == login.last, h))
        )
        by = f"IDENTIFIED VIA {ways} REQUIRE SSL" if ways else f"IDENTIFIED BY '' REQUIRE SUBJECT '{login.subject}'"
        where = "`" + login.schema.replace("_", "\\_") + "`.*" if login.schema else "*.*"  # a wildcard in a grant
        made += [
            f"CREATE USER IF NOT EXISTS '{name}'@'%' {by};",
            f"ALTER USER '{name}'@'%' {by} ACCOUNT UNLOCK;",
            f"GRANT ALL PRIVILEGES ON {where} TO '{name}'@'%'{'' if login.schema else ' WITH GRANT OPTION'};",
        ]
    return "\n".join([*made, ""])


def applied(container: str, file: str) -> Script:
    """Build the command that has a member's server read a file of SQL, as root by its socket.

    Args:
        container: The member's.
        file: On its node; it is removed, whatever becomes of it.
    """
    return sh(
        "trap 'rm -f '@{file} EXIT; docker exec -i @{container} mariadb < @{file}", container=container, file=file
    )
