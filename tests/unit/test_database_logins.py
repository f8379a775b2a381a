"""Who may log in to the database: what is sent, what is read back, and that passwords stay here."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from swarmbook.base.codes import Code
from swarmbook.base.secrets import Secret, mask
from swarmbook.book.book import Book
from swarmbook.model.change import Action
from swarmbook.params import Params, load_params, params_from_record
from swarmbook.phases.galera.accounts import accounts
from swarmbook.phases.galera.logins import ED25519, NATIVE, Login, Logins, logins_of, password_hash, statements
from swarmbook.phases.support.sql import VERIFIER
from swarmbook.testing.errors import raises

CONTAINER = "0123456789ab"


@pytest.mark.parametrize(
    ("plugin", "password", "kept"),
    [  # what MariaDB 11.8 itself made of them
        (ED25519, "foo", "vubFBzIrapbfHct1/J72dnUryz5VS7lA6XHH8sIx4TI"),
        (ED25519, "bar", "pfzkeWMzkTefY1oshXS+/kATeN51M+4jxi3/cbyTd10"),
        (NATIVE, "password", "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"),
    ],
)
def test_a_password_is_kept_as_the_server_keeps_it(plugin: str, password: str, kept: str) -> None:
    assert password_hash(plugin, Secret("p", password)) == kept
    assert kept not in mask(f"IDENTIFIED VIA {plugin} USING '{kept}'"), "an offline guess could be tried on it"


def answer(*rows: str, end: str = "whole") -> str:
    return "".join([f"container\n {CONTAINER}\nlogins\n", *(f" {row}\n" for row in rows), f" {end}\n" if end else ""])


#: As MariaDB 11.8 wrote them.
TWO = (
    '{"name": "app", "priv": {"access":0,"version_id":110809,"plugin":"ed25519","authentication_string":"AAA","auth_or":[{"plugin":"ed25519","authentication_string":"BBB"},{}],'
    '"ssl_type":1,"ssl_cipher":"","x509_issuer":"","x509_subject":"","password_last_changed":1795789806}}'
)
BY_CERTIFICATE = '{"name": "swarmbook", "priv": {"access":0,"plugin":"mysql_native_password","authentication_string":"","ssl_type":3,"x509_subject":"/CN=operator"}}'
LOCKED = '{"name": "app", "priv": {"plugin":"mysql_native_password","authentication_string":"invalid","ssl_type":1,"account_locked":true}}'
OPEN = '{"name": "app", "priv": {"access":0,"plugin":"mysql_native_password","authentication_string":"","password_last_changed":1}}'


@pytest.mark.parametrize(
    ("row", "name", "login", "words"),
    [
        (TWO, "app", Login(frozenset({"AAA", "BBB"}), ED25519), "ed25519, over TLS"),
        (BY_CERTIFICATE, "swarmbook", Login(subject="/CN=operator"), "a certificate of /CN=operator"),
        (LOCKED, "app", Login(frozenset({"invalid"}), NATIVE, locked=True), "nothing"),
        (OPEN, "app", Login(tls=False), "anyone, also without TLS"),
    ],
)
def test_what_a_member_says_is_read(row: str, name: str, login: Login, words: str) -> None:
    seen = logins_of("galera_sw1", [name], "/CN=galera.").answer(answer(row), "sw1")
    assert seen is not None and seen.there == {name: login} and seen.container == CONTAINER
    assert seen.there[name].words == words


@pytest.mark.parametrize("said", ["", f"container\n {CONTAINER}\nlogins\n", answer(TWO, end="")])
def test_a_member_that_does_not_answer_to_the_end_says_nothing(said: str) -> None:
    assert logins_of("galera_sw1", ["app"], "/CN=galera.").answer(said, "sw1") is None


@pytest.mark.parametrize("name", ["x'@'%'; DROP DATABASE app; -- ", "a b", "", "Å", "x\\ny", "A" * 40])
def test_a_name_that_a_member_made_up_reaches_no_statement(name: str) -> None:
    row = json.dumps({"name": name, "priv": {"ssl_type": 3, "x509_subject": "/CN=galera.x"}})
    with raises(Code.ANSWER_REFUSED, "sw1"):
        logins_of("galera_sw1", ["app"], "/CN=galera.").answer(answer(row), "sw1")


def wanted_by(book: Book) -> dict[str, Login]:
    return dict(accounts.want(book, Logins("", {})).logins)


def test_the_statements_make_what_is_wanted_and_read_the_same_again(open_book: Callable[..., Book]) -> None:
    book = open_book("07", mariadb_user="my_app", mariadb_database="my_app", mariadb_admin="dba")
    made = wanted_by(book)
    sql = statements(made, ["root"])
    assert sql.splitlines()[0] == "DROP USER IF EXISTS 'root'@'%';"
    assert f"CREATE USER IF NOT EXISTS '{VERIFIER}'@'%' IDENTIFIED BY '' REQUIRE SUBJECT '/CN=operator';" in sql
    assert "GRANT ALL PRIVILEGES ON `swarmbook\\_verify`.* TO 'swarmbook'@'%';" in sql, "and on nothing else"
    assert "GRANT ALL PRIVILEGES ON `my\\_app`.* TO 'my_app'@'%';" in sql
    assert "ALTER USER 'dba'@'%' IDENTIFIED BY '' REQUIRE SUBJECT '/CN=galera.dba' ACCOUNT UNLOCK;" in sql
    assert "GRANT ALL PRIVILEGES ON *.* TO 'dba'@'%' WITH GRANT OPTION;" in sql and sql.count("*.*") == 1
    password = book.cluster.secret("galera-password").reveal()
    assert password not in sql and password_hash(ED25519, Secret("p", password)) in sql


def test_what_is_as_wanted_is_left_alone(open_book: Callable[..., Book]) -> None:
    book = open_book("07")
    wanted = accounts.want(book, Logins("", {}))
    assert [change.action for change in accounts.plan(wanted, Logins(CONTAINER, {}))] == [Action.LOGIN] * 2
    as_wanted = Logins(CONTAINER, wanted.logins)
    assert accounts.plan(wanted, as_wanted) == [] and all(check.ok for check in accounts.verify(wanted, as_wanted))


@pytest.mark.parametrize(
    ("there", "seen"),
    [
        ({}, "no such login"),
        ({"app": Login(frozenset({"other"}), ED25519)}, "another password"),
        ({"app": Login(frozenset({"*A"}), NATIVE)}, "mysql_native_password, over TLS"),
        ({"app": Login(tls=False)}, "anyone, also without TLS"),
    ],
)
def test_what_is_not_as_wanted_is_mended_and_said(
    open_book: Callable[..., Book], there: dict[str, Login], seen: str
) -> None:
    book = open_book("07")
    wanted = accounts.want(book, Logins("", {}))
    now = Logins(
        CONTAINER, {**wanted.logins, **{"app": there.get("app")}} if there else {VERIFIER: wanted.logins[VERIFIER]}
    )  # type: ignore[dict-item]
    assert [change.things for change in accounts.plan(wanted, now)] == [("app", "ed25519, over TLS")]
    assert [check.seen for check in accounts.verify(wanted, now) if not check.ok] == [seen]


def test_root_is_taken_off_the_network(open_book: Callable[..., Book]) -> None:
    book = open_book("07")
    wanted = accounts.want(book, Logins("", {}))
    before = Logins(CONTAINER, {**wanted.logins, "root": Login(frozenset({"*A"}), NATIVE)})
    assert [(c.action, c.things) for c in accounts.plan(wanted, before)] == [(Action.REMOVE_LOGIN, ("root",))]
    assert [check.seen for check in accounts.verify(wanted, before) if not check.ok] == ["root"]


def test_an_administrator_who_is_wanted_no_more_is_removed_and_another_clusters_stays(
    open_book: Callable[..., Book],
) -> None:
    book = open_book("07", mariadb_admin="new")
    wanted = accounts.want(book, Logins("", {}))
    old, theirs = Login(subject="/CN=galera.old"), Login(subject="/CN=shop.dba")
    before = Logins(CONTAINER, {**wanted.logins, "old": old, "dba": theirs})
    assert [(c.action, c.things) for c in accounts.plan(wanted, before)] == [(Action.REMOVE_LOGIN, ("old",))]
    assert [check.seen for check in accounts.verify(wanted, before) if not check.ok] == ["old"]


def test_a_password_that_was_replaced_lets_in_beside_the_new_one(open_book: Callable[..., Book]) -> None:
    book = open_book("07")
    book.cluster.secret("galera-password")
    (book.cluster.secrets_folder / "galera-password.earlier").write_text("the one before\n")
    login = wanted_by(book)["app"]
    assert len(login.hashes) == 2
    sql = statements({"app": login}, [])
    earlier = password_hash(ED25519, Secret("p", "the one before"))
    assert sql.splitlines()[1].count(f"{ED25519} USING '") == 2
    assert f"{ED25519} USING '{earlier}' OR {ED25519} USING '{login.last}' REQUIRE SSL" in sql, "some clients try once"


def test_roots_password_is_a_parameter_of_earlier_versions(tmp_path: object) -> None:
    file = tmp_path / "old.yaml"  # type: ignore[operator]
    file.write_text("mariadb_root_password: generate\n")
    with raises(Code.PARAMETERS_WRONG) as caught:
        load_params(file)
    assert "line 1: mariadb_root_password: a parameter of earlier versions" in str(caught.value)
    assert "mariadb_admin" in str(caught.value)
    assert params_from_record({"mariadb_root_password": "generate"}, "a run") == Params()
