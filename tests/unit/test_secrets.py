"""Secrets: where they come from, and that they do not show."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import os
import pickle
import shlex
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import nacl.bindings as nacl_bindings
import pymysql._auth as pymysql_auth
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.cluster import Cluster
from swarmbook.access.pki import Authority, Use
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.secrets import (
    MASK,
    Secret,
    StreamMask,
    gossip_key,
    mask,
    password,
    register,
    register_references,
    resolve,
    token,
)
from swarmbook.cli.common import known_secrets
from swarmbook.model.names import keep_names
from swarmbook.model.phases import PHASES
from swarmbook.params import load_params
from swarmbook.phases.galera.logins import ED25519, password_hash
from swarmbook.testing.errors import raises


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("pw", "hunter2hunter2")
    shown = f"{secret} {secret!r} {[secret]} {secret!s}"
    assert "hunter2" not in shown
    assert secret.reveal() == "hunter2hunter2"
    for leak in (lambda: pickle.dumps(secret), lambda: copy.copy(secret), lambda: hash(secret), lambda: vars(secret)):
        with pytest.raises(TypeError):
            leak()


def test_secrets_compare_by_value() -> None:
    assert Secret("a", "hunter2") == Secret("b", "hunter2")
    assert Secret("a", "hunter2") != Secret("a", "hunter3")
    assert Secret("a", "hunter2") != "hunter2"
    assert Secret("a", "schlüssel") == Secret("b", "schlüssel")


def test_generated_once_and_kept(tmp_path: Path) -> None:
    first = resolve("pw", "generate", tmp_path / "secrets")
    assert resolve("pw", "generate", tmp_path / "secrets") == first
    assert (tmp_path / "secrets" / "pw").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PW", "from-the-environment")
    assert resolve("pw", "env:MY_PW", tmp_path).reveal() == "from-the-environment"
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MY_PW", "")
    with pytest.raises(UsageError, match="export MY_PW="):
        resolve("pw", "env:MY_PW", tmp_path)


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("from-a-file \nsecond line\n")
    assert resolve("pw", f"file:{file}", tmp_path / "s").reveal() == "from-a-file "


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\n", b"  \nsecond\n", b"\xff\xfe\xfd\n"],
    ids=["missing", "empty", "blank", "blank line first", "not text"],
)
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "pw"
    if content is not None:
        file.write_bytes(content)
    with raises(Code.SECRET_NOT_THERE, "pw") as caught:
        resolve("pw", f"file:{file}", tmp_path / "s")
    assert str(file) in str(caught.value)


def test_generators() -> None:
    assert len(password()) == 32
    assert password().isalnum()
    assert password() != password()
    assert len(base64.b64decode(gossip_key())) == 32
    assert uuid.UUID(token()).version == 4


def test_short_words_are_not_masked() -> None:
    register("root")
    assert mask("root@sw1") == "root@sw1"


@given(
    st.lists(st.text(alphabet="abcXYZ019", min_size=6, max_size=12), min_size=1, max_size=4),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_masked_text_holds_no_secret(values: list[str], before: str, after: str) -> None:
    for value in values:
        register(value)
    masked = mask(before + values[0] + after + "".join(values))
    assert MASK in masked
    assert not any(value in masked for value in values)
    assert mask(masked) == masked


def test_the_longest_is_masked_first() -> None:
    register("abcdef")
    register("abcdef-and-more")
    assert mask("x abcdef-and-more y") == f"x {MASK} y"


def test_a_cluster_makes_its_secrets_known(home: Path) -> None:
    folder = home / "clusters" / "lab" / "secrets"
    folder.mkdir(parents=True)
    (folder / "kept").write_text("kept-from-an-earlier-run\n")
    assert mask("kept-from-an-earlier-run") != MASK
    Cluster("lab").register_secrets()
    assert mask("kept-from-an-earlier-run") == MASK


def test_a_secret_that_was_written_in_the_same_tick_is_known(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock may tick so slowly that a folder's time does not show that it has changed again."""
    folder = home / "clusters" / "lab" / "secrets"
    folder.mkdir(parents=True)
    (folder / "first").write_text("first-of-two-secrets")
    Cluster("lab").register_secrets()
    tick = folder.stat().st_mtime_ns
    monkeypatch.setattr(secrets.time, "time_ns", lambda: tick + 1)
    assert mask("first-of-two-secrets") == MASK
    (folder / "second").write_text("second-of-two-secrets")
    os.utime(folder, ns=(tick, tick))
    assert mask("second-of-two-secrets") == MASK
    # When it has not changed for a while, it is not read again for every text.
    monkeypatch.setattr(secrets.time, "time_ns", lambda: tick + 60 * 10**9)
    mask("anything")
    scandir = os.scandir

    def once(path: Any = ".") -> Any:  # pathlib goes this way from 3.13 on, for other folders
        assert Path(path) != folder, f"{path} was read again"
        return scandir(path)

    monkeypatch.setattr(os, "scandir", once)
    mask("anything")


def test_nested_data_is_masked_in_keys_and_values() -> None:
    register("hunter2hunter2")
    data = {
        "hunter2hunter2": ["x hunter2hunter2", ("hunter2hunter2", 3)],
        4: {"deep": {"deeper": "hunter2hunter2"}},
        "n": None,
    }
    assert secrets.mask_data(data) == {
        MASK: [f"x {MASK}", [MASK, 3]],
        4: {"deep": {"deeper": MASK}},
        "n": None,
    }


def test_a_cluster_s_later_secrets_and_keys_are_known(home: Path) -> None:
    cluster = Cluster("lab")
    cluster.register_secrets()
    resolve("late", "generate", cluster.folder / "secrets", lambda: "made-by-a-kernel")
    secrets._known.clear()  # another process made it
    authority = Authority(cluster.folder / "pki" / "consul", "test CA")
    leaf = authority.leaf("sw1", ["sw1"], Use.PEER, life=timedelta(days=3), renew=timedelta(days=1))
    body = "".join(line for line in leaf.key.decode().splitlines() if "---" not in line)
    assert mask("x made-by-a-kernel y") == f"x {MASK} y"
    assert mask(leaf.certificate.decode()) == leaf.certificate.decode()
    for width in (40, 64, 76, 1000):
        again = "\n".join(body[at : at + width] for at in range(0, len(body), width))
        assert not any(body[at : at + 31] in mask(again) for at in range(len(body) - 31))
    assert body[:40] not in mask(leaf.key.decode().replace("\n", "\\n"))


def test_what_references_lead_to_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "from-the-environment")
    (tmp_path / "pw").write_text("from-a-file\nrest\n")
    register_references(
        {"a": ["env:PW", {"b": "file:pw"}], "c": "env:NOT_THERE", "d": f"file:{tmp_path}/none", "e": 3}, tmp_path
    )
    assert mask("from-the-environment from-a-file rest") == f"{MASK} {MASK} rest"


def test_a_reference_is_read_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pw").write_text("from-a-file-here\n")
    register_references("file:pw")
    assert mask("from-a-file-here") == MASK


def test_a_folder_among_the_secrets_hides_none_of_them(tmp_path: Path) -> None:
    secrets_folder = tmp_path / "secrets"
    names = [f"{number}" for number in range(8)]  # in whatever order the file system lists them
    for name in names:
        (secrets_folder / f"folder-{name}").mkdir(parents=True)
        (secrets_folder / name).write_text(f"secret-number-{name}")
    secrets.watch(tmp_path)
    assert mask(" ".join(f"secret-number-{name}" for name in names)) == " ".join([MASK] * 8)


def test_a_key_in_base64_is_known_in_other_clothes() -> None:
    key = base64.b64encode(bytes(range(200, 232))).decode()
    register(key)
    for worn in (
        key,
        key.rstrip("="),
        base64.urlsafe_b64encode(bytes(range(200, 232))).decode(),
        bytes(range(200, 232)).hex(),
    ):
        assert mask(worn).startswith(MASK) and len(mask(worn)) <= len(MASK) + 1


def test_a_file_that_is_no_text_hides_no_secret(home: Path) -> None:
    folder = home / "clusters" / "lab" / "secrets"
    folder.mkdir(parents=True)
    for name, content in (("a", b"\xff\xfe"), ("b", b"second-secret"), (".c.tmp", b"half-a-file")):
        (folder / name).write_bytes(content)
    Cluster("lab").register_secrets()
    assert mask("second-secret half-a-file") == f"{MASK} half-a-file"


def test_secrets_by_their_shape() -> None:
    token = f"SWMTKN-1-{'a1' * 25}-{'b' * 25}"
    assert mask(f"join {token} now") == f"join {MASK} now"
    stream = StreamMask()
    assert "".join(stream.feed(c) for c in f"join {token} now") + stream.flush() == f"join {MASK} now"
    assert MASK in mask("-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----")


def test_masking_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    register("hunter2hunter2")
    monkeypatch.setenv("SWARMBOOK_MASK", "off")
    assert mask("hunter2hunter2") == "hunter2hunter2"
    assert StreamMask().feed("hunter2hunter2") == "hunter2hunter2"


_printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F), min_size=8, max_size=30).filter(
    lambda v: len(set(v)) > 4
)
_around = st.text(max_size=12)
CLOTHES: dict[str, Callable[[str], str]] = {
    "plain": lambda v: v,
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "url-safe base64": lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
    "hex": lambda v: v.encode().hex(),
    "HEX": lambda v: v.encode().hex().upper(),
    "json": json.dumps,
    "json in json": lambda v: json.dumps(json.dumps({"v": v})),
    "json, as it is": lambda v: json.dumps(v, ensure_ascii=False),
    "url": lambda v: urllib.parse.quote(v, safe=""),
    "form": lambda v: urllib.parse.urlencode({"v": v}),
    "html": html.escape,
    "html, text": lambda v: html.escape(v, quote=False),
    "shell": shlex.quote,
    "repr": repr,
}


@pytest.mark.parametrize("wear", CLOTHES.values(), ids=list(CLOTHES))
@given(value=_printable, before=_around, after=_around)
def test_a_secret_is_found_in_any_clothes(wear: Callable[[str], str], value: str, before: str, after: str) -> None:
    secrets._known.clear()
    register(value)
    worn = wear(value)
    masked = mask(f"{before}\n{worn}\n{after}")
    assert MASK in masked
    assert worn not in masked.replace(MASK, "") or len(worn) < 6


@given(value=_printable, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_a_secret_within_a_longer_base64_text_is_found(value: str, before: bytes, after: bytes) -> None:
    secrets._known.clear()
    register(value)
    data = before + value.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        left = mask(encode(data).decode()).split(MASK)
        assert len(left) >= 2
        # What is left of it is at most the characters that it shares with its neighbours.
        assert sum(map(len, left)) <= len(encode(before)) + len(encode(after)) + 4


@given(values=st.lists(_printable, min_size=1, max_size=3), data=st.data())
def test_a_secret_in_pieces_is_masked(values: list[str], data: st.DataObject) -> None:
    secrets._known.clear()
    for value in values:
        register(value)
    wear = data.draw(st.sampled_from([CLOTHES[name] for name in ("plain", "base64", "hex", "json")]))
    text = data.draw(_around) + "\n" + "\n".join(map(wear, values)) + data.draw(_around)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    stream = StreamMask()
    shown = "".join(map(stream.feed, pieces)) + stream.flush()
    assert shown == mask(text)


# -- one encoding, from the reference to the login ---------------------------------------------------------------------

#: One of every printable class; blanks at both ends are part of it.
PRINTABLE = {
    "quotes": "it's \"quoted\" twice", "dollar": "$HOME and ${PATH}", "backslash": "back\\slash\\n", "back tick": "`id` in ticks", "umlaut": "Grüße aus Köln",
    "euro": "12 € und 50", "emoji": "a 🐘 never forgets", "blanks": "  blank at both ends  ", "percent": "100 %s of %n", "at and colon": "user:pw@host/db?x=y",
    "hash": "# no comment here", "other scripts": "пароль-密码-パス", "combining": "cafe\u0301 au lait", "no-break space": "one\u00a0two three", "semicolon": "x'; DROP TABLE t; --",
}  # fmt: skip


@pytest.mark.parametrize("kind", PRINTABLE)
@pytest.mark.parametrize("by", ["env", "file", "file with CR", "file with BOM"])
def test_a_password_of_any_printable_class_is_the_same_from_its_reference_to_the_login(
    kind: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, plain_bytes = PRINTABLE[kind], PRINTABLE[kind].encode()
    monkeypatch.setitem(os.environb, b"MY_PW", plain_bytes)
    ends = {"file with CR": b"\r\nmore", "file with BOM": b""}.get(by, b"\n")
    (tmp_path / "pw").write_bytes((b"\xef\xbb\xbf" if by == "file with BOM" else b"") + plain_bytes + ends)
    secret = resolve("pw", "env:MY_PW" if by == "env" else f"file:{tmp_path}/pw", tmp_path / "s")
    assert secret.reveal() == value
    # What the server keeps, and what PyMySQL signs with the same bytes: that is the login.
    public = base64.b64decode(password_hash(ED25519, secret) + "=")
    scramble = b"\x01" * 32
    signature = pymysql_auth.ed25519_password(plain_bytes, scramble)
    assert nacl_bindings.crypto_sign_open(signature + scramble, public) == scramble
    native = pymysql_auth.scramble_native_password(plain_bytes, scramble[:20])
    assert _native_lets_in(password_hash("mysql_native_password", secret), native, scramble[:20])
    assert value not in mask(f"x {value} y") and value.strip() not in mask(f"[{value.strip()}]")


def _native_lets_in(kept: str, answer: bytes, scramble: bytes) -> bool:
    """What a server does with mysql_native_password: the SHA-1 of what comes out is what it keeps."""
    twice = bytes.fromhex(kept.removeprefix("*"))
    once = bytes(a ^ b for a, b in zip(answer, hashlib.sha1(scramble + twice).digest(), strict=True))
    return hashlib.sha1(once).digest() == twice


def test_the_locale_does_not_change_a_secret(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from swarmbook.base.secrets import resolve; sys.stdout.buffer.write(resolve('pw', 'env:PW', Path('x')).reveal().encode())"
    for locale in ("C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1"):
        for utf8 in ("0", "1"):
            env = {b"PW": "Grüße-€-🐘".encode(), b"LC_ALL": locale.encode(), b"PYTHONUTF8": utf8.encode()}
            done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True)
            assert done.stdout.decode() == "Grüße-€-🐘", (locale, utf8)


@pytest.mark.parametrize(
    "value", [b"not\xffUTF-8", b"two\nlines-of-it", b"with a\ttab in it", b"a return\rin it", b"an escape \x1b[31m"]
)
def test_what_does_not_travel_is_refused_and_not_repeated(
    value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environb, b"MY_PW", value)
    with pytest.raises(UsageError) as caught:
        resolve("pw", "env:MY_PW", tmp_path)
    assert caught.value.code in (Code.SECRET_UNFIT, Code.SECRET_NOT_THERE) and caught.value.exit_code == 2
    assert not any(part in str(caught.value) for part in ("not\udcff", "lines-of-it", "with a", "a return", "[31m"))


BAD = {
    "short": ["a", "x9$kQ", "7 chars"],
    "hardly any different": ["aaaaaaaaaa", "ababababab", "1111222233334444"],
    "row": ["abcdefgh", "12345678", "qwertyuiop", "87654321"],
    "common": ["password", "Passwort1", "P4ssw0rd!", "letmein123", "changeme!!", "Welcome2026", "Galera-2026!", "123consul456", "MariaDB11.8", "swarmbook"],
    "digits": ["19840712", "2026-11-27"],
    "name": ["bootstrap_galera", "bootstrap", "07_bootstrap_galera.ipynb", "completed", "provision", "manifest.json", "host-unreachable", "database-1", "webshop-north", "mariadb_password"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_a_secret_that_is_short_or_common_or_a_name_of_ours_is_refused_before_anything_runs(
    kind: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PW", value)
    (home / "p.yaml").write_text("cluster: webshop-north\nnodes: [database-1, b2, c3]\nmariadb_password: env:MY_PW\n")
    with raises(Code.SECRET_UNFIT, "mariadb_password", "MY_PW") as caught:
        known_secrets(load_params(home / "p.yaml"))
    assert len(value) < 6 or value not in str(caught.value.seen)
    assert not (home / "clusters").exists()


@pytest.mark.parametrize("value", ["Vo4ieghu8eeNgei", "correct horse battery", "x9$kQ!7z", "passwordless-future-7Q"])
def test_a_secret_that_no_one_guesses_is_taken(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PW", value)
    assert resolve("pw", "env:MY_PW", tmp_path).reveal() == value


def test_what_consul_would_not_take_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make, good in ((gossip_key, gossip_key()), (token, token())):
        monkeypatch.setenv("MY_PW", good)
        assert resolve("it", "env:MY_PW", tmp_path, make).reveal() == good
        monkeypatch.setenv("MY_PW", "Vo4ieghu8eeNgei")
        with raises(Code.SECRET_UNFIT, "Consul"):
            resolve("it", "env:MY_PW", tmp_path, make)


# -- structure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["galera", "bootstrap_galera", "completed", "provision", "database-1", "consul"])
def test_names_of_ours_are_never_masked_whatever_an_earlier_version_took_for_a_secret(word: str) -> None:
    register(word)
    keep_names(["database-1"])
    for phase in PHASES.values():
        assert mask(f"runs/lab/{phase.file}, {phase.number} {phase.name}: ok") == f"runs/lab/{phase.file}, {phase.number} {phase.name}: ok"  # fmt: skip
    assert mask(f'{{"status":"completed","host":"database-1","code":"{Code.LOCK_HELD}"}}').count(MASK) == 0
    assert secrets.mask_data({word: f"the password:{word}x"}, keys=False) == {word: f"the password:{MASK}x"}
    assert MASK in mask(f"my-{word}-and-more")


def test_a_secret_beside_a_name_is_masked() -> None:
    register("Vo4ieghu8eeNgei")
    keep_names(["Vo4ieghu8eeNgei-2"])
    assert mask("07_bootstrap_galera.ipynb Vo4ieghu8eeNgei 08") == f"07_bootstrap_galera.ipynb {MASK} 08"
    assert mask("Vo4ieghu8eeNgei.ipynb") == f"{MASK}.ipynb"
