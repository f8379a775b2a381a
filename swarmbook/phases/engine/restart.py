"""An engine that starts, with what was written for it, or with what was there before."""

from __future__ import annotations

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.engine.api import try_api
from swarmbook.phases.engine.probe import Engine, tasks
from swarmbook.phases.engine.undo import FORGET_UNDO, TAKE_BACK
from swarmbook.phases.support.autolock import unlock_manager

__all__ = ["bring_up", "does_not_start", "is_well", "restart"]


def restart(book: Book, host: Host, engine: Engine) -> None:
    """Restart an engine, and wait until each task that ran well there runs again, healthy where it has a healthcheck.

    One that was not well before, a member that waits for others, say, is not waited for: no restart of an engine makes it well.

    Args:
        book: The open book.
        host: The node.
        engine: Its engine as it was.
    """
    ran = {name: status for name, status in host.ask(tasks).items() if is_well(status)}
    # Cleanly, with the time each asks for: the engine itself gives its containers 15 s and then kills them.
    stop = sh("docker ps -q --filter label=com.docker.swarm.service.name | xargs -r docker stop >/dev/null")
    host.run(stop, check=False, timeout_s=book.params.wait_timeout)
    bring_up(book, host, engine)

    def well() -> tuple[bool, str]:
        now = host.ask(tasks, quiet=True)
        late = [
            f"{name}: {now.get(name, 'not started')}"
            for name in sorted(ran)
            if name not in now or not is_well(now[name])
        ]
        return not late, "; ".join(late)

    wait_for(
        f"the tasks on {host.name} run again",
        well,
        timeout_s=book.params.wait_timeout,
        where=host.name,
        next=f"swarmbook ssh {host.name} docker ps -a",
    )


def is_well(status: str) -> bool:
    """Tell by Docker's words for a container, ``Up 3 seconds (healthy)``, whether nothing is wrong with it.

    Args:
        status: The words.
    """
    return status.startswith("Up") and "starting" not in status and "unhealthy" not in status


def bring_up(book: Book, host: Host, before: Engine) -> None:
    """Start an engine; one that its package has just started, on settings not yet ours, starts again.

    What we wrote is taken back where it does not start with it, and an engine that ran before runs again.

    Args:
        book: The open book.
        host: The node.
        before: Its engine as it was.

    Raises:
        EngineUnavailable: It does not start; says whether it runs as before.
    """
    done = host.run(_RESTART, check=False, timeout_s=book.params.wait_timeout)
    if not done.ok:
        journal = sh(
            "journalctl -u docker.service -n 30 --no-pager -o cat | grep -iE 'fail|error|unable|invalid' | tail -n 5"
        )
        log = host.run(journal, check=False).stdout.strip() or done.stderr.strip()
        taken_back = host.run(TAKE_BACK).stdout.strip() != ""
        after = "what was written was taken back" if taken_back else ""
        if before.active:
            again = host.run(_RESTART, check=False, timeout_s=book.params.wait_timeout)
            after += (
                ", and it runs as before" if again.ok else ", and it does not start with what was there before either"
            )
        raise does_not_start(host, after.lstrip(", "), log)
    host.run(FORGET_UNDO)
    wait_for(
        f"the engine's API on {host.name} answers",
        lambda: try_api(book, host.name),
        timeout_s=book.params.wait_timeout,
        where=host.name,
        next=f"swarmbook ssh {host.name} journalctl -u docker -n 50; or raise wait_timeout in the parameters",
    )
    unlock_manager(book, host.name)


#: Engines that failed before have used up the starts that systemd allows.
_RESTART = sh(
    "systemctl daemon-reload && systemctl reset-failed docker.service docker.socket 2>/dev/null; "
    "systemctl restart docker.service"
)


def does_not_start(host: Host, after: str, log: str) -> EngineUnavailable:
    """Build the error for an engine that does not start.

    Args:
        host: The node.
        after: What has been done about it.
        log: What the engine says.
    """
    return EngineUnavailable(
        f"the engine on {host.name} does not start{f'; {after}' if after else ''}",
        where=f"{host.name}: systemctl restart docker",
        wanted="docker.service active",
        seen=log,
        next=f"swarmbook ssh {host.name} journalctl -u docker -n 50; after fixing it: swarmbook run PARAMS --from 03",
        code=Code.ENGINE_DOES_NOT_START,
    )
