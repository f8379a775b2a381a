"""The folder of initial scripts: every entry is loaded, or refused with the reason, before anything is founded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest

from swarmbook.base.codes import Code
from swarmbook.phases.galera.scripts import Progress, initial_scripts
from swarmbook.testing.errors import raises

CREATE = b"CREATE TABLE t (id INT PRIMARY KEY);\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "init").mkdir()
    return tmp_path / "init"


def put(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)


def test_none_is_wanted() -> None:
    assert initial_scripts("").files == ()


def test_every_kind_is_run_in_the_order_of_names(folder: Path) -> None:
    put(folder, b__sql=CREATE, a__SQL=CREATE, c__sql__gz=gzip.compress(CREATE), d__sql__xz=lzma.compress(CREATE))
    put(folder, e__sql__bz2=bz2.compress(CREATE), f__sql__zst=b"\x28\xb5\x2f\xfd", g__sh=b"echo ok\n")
    found = initial_scripts(str(folder))
    assert found.run == ("a.SQL", "b.sql", "c.sql.gz", "d.sql.xz", "e.sql.bz2", "f.sql.zst", "g.sh")
    assert [path.name for path in found.files] == list(found.run)


@pytest.mark.parametrize(
    "source",
    [
        b"source load.dump ;",
        b"SOURCE load.dump",
        b"\\. load.dump",
        b"SELECT 1;\n  source ./load.dump;\n",
        b"-- a comment\nsource load.dump;\r\n",
        b"DELIMITER $$\nCREATE PROCEDURE p() BEGIN END $$\nDELIMITER ;\nsource 'load.dump'",
        b"/*!40101 SET NAMES utf8 */;\nsource load.dump",
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_what_a_script_sources_goes_with_it(folder: Path, source: bytes, pack: object) -> None:
    ending = {gzip.compress: ".gz", lzma.compress: ".xz", bz2.compress: ".bz2"}.get(pack, "")  # type: ignore[call-overload]
    (folder / f"all.sql{ending}").write_bytes(pack(source))  # type: ignore[operator]
    put(folder, load__dump=b"INSERT INTO t VALUES (1);\n")
    found = initial_scripts(str(folder))
    assert [path.name for path in found.files] == [f"all.sql{ending}", "load.dump"]
    assert found.run == (f"all.sql{ending}",)


def test_sql_that_another_script_sources_is_not_run_twice(folder: Path) -> None:
    put(folder, a__sql=b"source b.sql;\n", b__sql=CREATE)
    assert initial_scripts(str(folder)).run == ("a.sql",)


def test_what_a_script_for_bash_names_goes_with_it(folder: Path) -> None:
    put(folder, load__sh=b"tar xf data.tar.gz\n", data__tar__gz=b"...")
    assert [path.name for path in initial_scripts(str(folder)).files] == ["data.tar.gz", "load.sh"]


@pytest.mark.parametrize(
    "sql",
    [
        b"CREATE TABLE t (\n  source varchar(50) NOT NULL,\n  id INT\n);\n",
        b"SELECT s.id FROM\nsource s.id;\n",
        b"INSERT INTO t VALUES ('" + b"x" * 10_000 + b"\nsource of.truth');\n",
    ],
)
def test_a_word_in_the_middle_of_a_statement_sources_nothing(folder: Path, sql: bytes) -> None:
    put(folder, a__sql=sql)
    assert initial_scripts(str(folder)).run == ("a.sql",)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("seed.zip", b"PK", "seed.zip: an archive: unpack it"),
        ("seed.tar.gz", b"", "seed.tar.gz: an archive: unpack it"),
        ("seed.gz", b"", "seed.gz: packed, but no .sql.gz"),
        ("seed.dump", b"", "seed.dump: no script names it"),
        ("README.md", b"read me", "README.md: no script, and no script names it"),
        (".gitkeep", b"", ".gitkeep: no script"),
        ("bad.sql.gz", b"not packed", "bad.sql.gz: cannot be unpacked"),
        ("cut.sql.xz", lzma.compress(CREATE * 1000)[:40], "cut.sql.xz: cannot be unpacked"),
        ("out.sql", b"source ../other.sql;\n", "out.sql: reads ../other.sql, which is not in the folder"),
        ("out.sql", b"\\. /tmp/x.sql\n", "out.sql: reads /tmp/x.sql, which is not in the folder"),
    ],
)
def test_what_would_not_be_loaded_is_refused_with_the_reason(folder: Path, name: str, content: bytes, why: str) -> None:
    put(folder, a__sql=CREATE)
    (folder / name).write_bytes(content)
    with raises(Code.INIT_SCRIPTS_REFUSED, why, str(folder)):
        initial_scripts(str(folder))


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    put(folder, a__sql=CREATE, b__zip=b"")
    (folder / "dump.sql").mkdir()
    (folder / "gone.sql").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.sql")
    (folder / "new\nline.sql").write_bytes(CREATE)
    with raises(
        Code.INIT_SCRIPTS_REFUSED, "5 entries", "dump.sql: a folder", "gone.sql: a link", "pipe.sql: no file", "b.zip"
    ):
        initial_scripts(str(folder))


def test_a_folder_without_a_script_is_refused(folder: Path) -> None:
    with raises(Code.INIT_SCRIPTS_REFUSED, "no script in it"):
        initial_scripts(str(folder))
    assert initial_scripts(str(folder), look=False).files == ()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with raises(Code.INIT_SCRIPTS_NOT_THERE, "nowhere"):
        initial_scripts(str(tmp_path / "nowhere"), look=False)


def test_progress_in_words() -> None:
    assert str(Progress("a.sql", 1_500_000, 9_000_000, 31, "INSERT INTO t")) == (
        "runs a.sql: 1.5 of 9.0 MB, 31 s, at INSERT INTO t"
    )
    assert str(Progress("b.sh", 0, 20, 4)) == "runs b.sh: 4 s"
