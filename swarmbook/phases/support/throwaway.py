"""A server on restored data, in a container without a network: for a trial, or to replay what came after a backup."""

from __future__ import annotations

from collections.abc import Sequence

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Probe, line
from swarmbook.base.codes import Code
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.support.unpacking import AT, container

__all__ = ["LOGIN", "started", "starts"]

_SOCKET = "/tmp/trial.sock"  # noqa: S108 - in a container of its own
#: Options by which its client logs in.
LOGIN = ("--user=mysql", f"--socket={_SOCKET}")


def starts(name: str) -> Probe[tuple[bool, str]]:
    """Ask whether the server answers, and what it said last.

    Args:
        name: Its container.
    """
    script = sh(
        "docker exec @{name} mariadb @{login} -e 'SELECT 1' >/dev/null 2>&1 && echo yes | as alive\ndocker logs --tail 3 @{name} 2>&1 | as log",
        name=name,
        login=LOGIN,
    )
    return Probe(script, lambda facts: (bool(facts.get("alive")), line(" ".join(facts["log"]))))


def started(book: Book, host: Host, name: str, image: str, folder: str, options: Sequence[str], next: str) -> None:
    """Start a server on what was restored, and wait until it answers.

    Args:
        book: The open book.
        host: The node.
        name: Of its container.
        image: The members' image.
        folder: The data, on the node.
        options: What it is given beside the options that any such server has.
        next: What to do where it does not start.

    Raises:
        WaitTimeout: It does not.
    """
    # What the data was written with, mariadb-backup has put into this file.
    common = [
        f"--defaults-file={AT}/backup-my.cnf", f"--datadir={AT}", f"--socket={_SOCKET}", "--pid-file=/tmp/trial.pid", "--skip-networking",
        "--wsrep-on=OFF", "--plugin-load-add=auth_ed25519", "--innodb-buffer-pool-size=128M", "--event-scheduler=OFF",
    ]  # fmt: skip
    run = container(name, folder, image, "mariadbd", [*common, *options], stays=True)
    host.run(sh("@!{run} >/dev/null", run=run))
    wait_for(
        "a server starts on the restored data",
        lambda: host.ask(starts(name), quiet=True),
        timeout_s=book.params.wait_timeout,
        where=host.name,
        next=next,
        code=Code.SNAPSHOT_DAMAGED,
        first_s=0.3,
    )
