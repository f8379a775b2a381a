"""Stock clients that no one here wrote, at the two addresses: MariaDB's own, sysbench, mydumper, pt-table-checksum, pools of connections.

They are installed as anyone would do it: Debian's packages on this computer, the newest SQLAlchemy from PyPI and mysql2 from npm here and now.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import ADMIN, Lab, until

pytestmark = pytest.mark.long
NODES = ["c1", "c2", "c3"]
WRITER, READER = 3307, 3308
ROWS = 20_000


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, lab_disk_gb=8, endpoint_writer_port=WRITER, endpoint_reader_port=READER, with_endpoint=True)


def way(lab: Lab, which: str) -> dict[str, Any]:
    """What ``swarmbook endpoint --json`` tells a program."""
    lab.need()
    found: dict[str, Any] = lab.book("endpoint", "--json").expect(0).json[which]
    return {**found, "password": Path(found["password_file"]).read_text("utf-8").strip()}


def end(to: dict[str, Any]) -> str:
    """The host, for programs that take localhost for a socket; they do not look at the name in the certificate."""
    return "127.0.0.1" if to["host"] == "localhost" else str(to["host"])


def settings(lab: Lab, which: str, folder: Path, *, name: bool = True) -> Path:
    """A file of settings for clients of MariaDB's library, which only we can read; with or without a look at the certificate's name."""
    to = way(lab, which)
    file = folder / f"{which}{'' if name else '-plain'}.cnf"
    file.touch(0o600)
    file.write_text(
        f"[client]\nprotocol=tcp\nhost={to['host'] if name else end(to)}\nport={to['port']}\nuser={to['user']}\npassword={to['password']}\n"
        f"ssl-ca={to['ca']}\n{'ssl-verify-server-cert' if name else ''}\n",
        "utf-8",
    )
    return file


def run(*words: str, seconds: float = 300, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program and return what it printed; it has to end well."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(env or {})}, cwd=cwd)  # fmt: skip
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def sql(file: Path, query: str) -> str:
    """Ask by MariaDB's own client."""
    return run("mariadb", f"--defaults-file={file}", "--batch", "--skip-column-names", "-e", query, "app").strip()


def writer(lab: Lab) -> str:
    rows = lab.book("status", "--json").json
    return next((row["node"] for row in rows if row["galera"].endswith("writer")), "")


@contextmanager
def sysbench(lab: Lab, folder: Path) -> Iterator[Callable[..., str]]:
    """Sysbench's own tables for the time of a test; the password goes by a file, since a command line shows."""
    to, file = way(lab, "writer"), folder / "sysbench"
    file.touch(0o600)
    # It wants a certificate of its own, by these names in its folder, though the server asks for none.
    pki = lab.folder / "pki" / "database"
    for there, here in (("ca.pem", "cacert.pem"), (f"galera.{ADMIN}.pem", "client-cert.pem"), (f"galera.{ADMIN}.key", "client-key.pem")):  # fmt: skip
        shutil.copy(pki / there, folder / here)
    options = {
        "mysql-host": end(to), "mysql-port": to["port"], "mysql-user": to["user"], "mysql-password": to["password"],
        "mysql-db": to["database"], "mysql-ssl": "REQUIRED", "tables": 2, "table-size": ROWS // 2, "threads": 4, "time": 5,
    }  # fmt: skip
    file.write_text("".join(f"{key}={value}\n" for key, value in options.items()), "utf-8")

    def one(script: str, verb: str) -> str:
        return run("sysbench", f"--config-file={file}", script, verb, cwd=folder)

    one("oltp_read_write", "prepare")
    try:
        yield one
    finally:
        one("oltp_read_write", "cleanup")


def test_mariadbs_own_client(lab: Lab, tmp_path: Path) -> None:
    at_writer, at_reader = settings(lab, "writer", tmp_path), settings(lab, "reader", tmp_path)
    assert sql(at_writer, "SELECT @@wsrep_node_name, @@global.read_only").split() == [f"galera-{writer(lab)}", "0"]
    sql(at_writer, "CREATE OR REPLACE TABLE app.seen (id INT PRIMARY KEY); INSERT INTO app.seen VALUES (1), (2)")
    assert sql(at_reader, "SET SESSION wsrep_sync_wait = 1; SELECT COUNT(*) FROM app.seen") == "2"
    sql(at_writer, "DROP TABLE app.seen")


def test_sysbench(lab: Lab, tmp_path: Path) -> None:
    with sysbench(lab, tmp_path) as bench:
        for script in ("oltp_read_write", "oltp_read_only", "oltp_insert"):
            said = bench(script, "run")
            done = re.search(r"transactions: +(\d+)", said)
            assert done and int(done[1]) > 10, said
            assert re.search(r"reconnects: +0 ", said), said


def test_mydumper_and_myloader(lab: Lab, tmp_path: Path) -> None:
    """A dump from a reader, and back by the writer: every row."""
    at_writer, at_reader = settings(lab, "writer", tmp_path), settings(lab, "reader", tmp_path)
    to_writer, to_reader = settings(lab, "writer", tmp_path, name=False), settings(lab, "reader", tmp_path, name=False)
    with sysbench(lab, tmp_path):
        before = sql(at_writer, "CHECKSUM TABLE app.sbtest1, app.sbtest2")
        # An application's user may not lock all tables; at a member that takes no writes of its own, nothing else is needed.
        ca = way(lab, "reader")["ca"]
        tls = ["--ssl", f"--ca={ca}"]
        run(
            "mydumper",
            f"--defaults-file={to_reader}",
            *tls,
            "--no-locks",
            "--database=app",
            f"--outputdir={tmp_path / 'dump'}",
        )
        assert len(list((tmp_path / "dump").glob("app.sbtest?.sql"))) == 2
        sql(at_writer, "DROP TABLE app.sbtest1, app.sbtest2")
        run(
            "myloader",
            f"--defaults-file={to_writer}",
            *tls,
            "--database=app",
            "--overwrite-tables",
            "--enable-binlog",
            f"--directory={tmp_path / 'dump'}",
        )
        assert sql(at_writer, "CHECKSUM TABLE app.sbtest1, app.sbtest2") == before
        until(
            lambda: sql(at_reader, "CHECKSUM TABLE app.sbtest1, app.sbtest2") == before, why="a reader has other rows"
        )


def test_a_pool_of_pymysqls_outlives_a_switch(lab: Lab, tmp_path: Path) -> None:
    """SQLAlchemy's pool, as it comes but for ``pool_pre_ping``, while the writer hands over: each unit of work once, or at a second try."""
    to = way(lab, "writer")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    run(str(python), "-m", "pip", "install", "-q", "sqlalchemy", "pymysql[ed25519]")
    script = tmp_path / "pool.py"
    script.write_text(POOL, "utf-8")
    working = subprocess.Popen([str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert working.stdin and working.stdout
    print(json.dumps(to), file=working.stdin, flush=True)
    assert working.stdout.readline().strip() == "works"
    first = writer(lab)
    lab.book("switch-writer", next(node for node in NODES if node != first)).expect(0)
    working.stdin.close()
    said = json.loads(working.stdout.read())
    assert working.wait(60) == 0
    assert said["done"] > 50 and said["twice"] == 0 and said["there"] == said["done"], json.dumps(said, indent=1)
    assert len(said["members"]) == 2, said


POOL = """
import json, ssl, sys, threading
from sqlalchemy import create_engine, exc, text
from sqlalchemy.engine import URL

to = json.loads(sys.stdin.readline())
url = URL.create("mysql+pymysql", to["user"], to["password"], to["host"], to["port"], to["database"])
tls = ssl.create_default_context(cafile=to["ca"])
engine = create_engine(url, pool_size=4, pool_pre_ping=True, connect_args={"ssl": tls, "connect_timeout": 15})
with engine.begin() as base:
    base.execute(text("CREATE OR REPLACE TABLE pooled (id INT PRIMARY KEY)"))
over, lock, done, twice, members, number = threading.Event(), threading.Lock(), set(), [], set(), iter(range(10**9))

def once(mine):
    with engine.begin() as base:
        base.execute(text("INSERT IGNORE INTO pooled VALUES (:id)"), {"id": mine})
        members.add(base.execute(text("SELECT @@wsrep_node_name")).scalar())

def work():
    while not over.is_set():
        with lock:
            mine = next(number)
        for last in (False, True):
            try:
                once(mine)
                done.add(mine)
                break
            except exc.DBAPIError as error:
                if last:
                    twice.append(str(error))

threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads:
    each.start()
while len(done) < 50:
    over.wait(0.1)
print("works", flush=True)
sys.stdin.read()
before = len(done)
while len(done) < before + 50:
    over.wait(0.1)
over.set()
for each in threads:
    each.join()
with engine.begin() as base:
    there = {row[0] for row in base.execute(text("SELECT id FROM pooled"))}
    base.execute(text("DROP TABLE pooled"))
print(json.dumps({"done": len(done), "twice": len(twice), "there": len(there & done), "members": sorted(members), "errors": twice[:3]}))
"""


def test_pt_table_checksum(lab: Lab, tmp_path: Path) -> None:
    """Percona's comparison of tables, with an administrator's certificate: it writes its sums at the writer, as statements that each member executes."""
    lab.need()
    lab.book("run", "--only", "07", mariadb_admin="checker").expect(0)
    to, pki = way(lab, "writer"), lab.folder / "pki" / "database"
    file = tmp_path / "admin.cnf"
    file.touch(0o600)
    file.write_text(
        f"[client]\nprotocol=tcp\nhost={end(to)}\nport={to['port']}\nuser=checker\nssl-ca={to['ca']}\n"
        f"ssl-cert={pki / 'galera.checker.pem'}\nssl-key={pki / 'galera.checker.key'}\n",
        "utf-8",
    )
    with sysbench(lab, tmp_path):
        said = run(
            "pt-table-checksum", f"F={file}", "--databases=app", "--recursion-method=none", "--no-check-binlog-format", "--no-version-check",
            "--replicate=app.checksums",
        )  # fmt: skip
        rows = [line.split() for line in said.splitlines() if "app.sbtest" in line]
        assert len(rows) == 2 and all(row[1] == row[2] == "0" and row[4] == str(ROWS // 2) for row in rows), said
        sql(settings(lab, "writer", tmp_path), "DROP TABLE app.checksums")


MYSQL2 = """
const fs = require('fs'), mysql = require('mysql2/promise');
(async () => {
  const to = JSON.parse(fs.readFileSync(0, 'utf8'));
  const pool = mysql.createPool({host: to.host, port: to.port, user: to.user, password: to.password, database: to.database,
                                 ssl: {ca: fs.readFileSync(to.ca)}, connectionLimit: 4});
  await pool.query('CREATE OR REPLACE TABLE noded (id INT PRIMARY KEY)');
  await Promise.all([...Array(100).keys()].map(id => pool.execute('INSERT INTO noded VALUES (?)', [id])));
  const [rows] = await pool.query('SELECT COUNT(*) AS n, @@wsrep_node_name AS member FROM noded');
  await pool.query('DROP TABLE noded');
  await pool.end();
  console.log(JSON.stringify(rows[0]));
})().catch(error => { console.error(error); process.exit(1); });
"""


def test_nodes_mysql2(lab: Lab, tmp_path: Path) -> None:
    """It knows nothing of ed25519: with the parameter that is there for such clients, on a cluster that runs."""
    lab.need()
    lab.book("run", "--only", "07", mariadb_password_plugin="mysql_native_password").expect(0)
    to = way(lab, "writer")
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "mysql2", cwd=tmp_path)
    (tmp_path / "client.js").write_text(MYSQL2, "utf-8")
    done = subprocess.run(["node", "client.js"], input=json.dumps(to), capture_output=True, text=True, cwd=tmp_path, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"n": 100, "member": f"galera-{writer(lab)}"}
    lab.book("run", "--only", "07").expect(0)
