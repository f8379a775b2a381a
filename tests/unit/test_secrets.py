"""Secrets: where they come from, and that they do not show."""

from __future__ import annotations

import base64
import copy
import pickle
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.cluster import Cluster
from swarmbook.errors import UsageError
from swarmbook.secrets import MASK, Secret, gossip_key, mask, password, register, resolve, token


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
    assert resolve("pw", f"file:{file}", tmp_path / "s").reveal() == "from-a-file"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"  \nsecond\n", b"\xff\xfe\xfd\n"], ids=["missing", "empty", "blank", "blank line first", "not text"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "pw"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="the secret pw is not there") as caught:
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


@given(st.lists(st.text(alphabet="abcXYZ019", min_size=6, max_size=12), min_size=1, max_size=4), st.text(max_size=20), st.text(max_size=20))
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
