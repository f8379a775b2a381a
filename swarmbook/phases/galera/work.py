"""How members are founded, joined, updated and waited for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping

from swarmbook.access.commands import sh
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, UsageError, WaitTimeout, WorldError
from swarmbook.base.secrets import mask
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.galera.ease import Ease
from swarmbook.phases.galera.members import Galera, Member, found_on, nobody_serves
from swarmbook.phases.galera.plan import REUNION_S
from swarmbook.phases.galera.stack import Parts, document
from swarmbook.phases.support import stack
from swarmbook.phases.support.member_data import RESTORED, data_folder, folder_made
from swarmbook.phases.support.members import of_service, running_of, service_name
from swarmbook.phases.support.positions import forget_positions
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.updates import Updates

__all__ = ["Work", "last_words"]

#: A member may fail to join and be started again: its donor was busy, say. More often than this is no bad luck.
_STARTS = 4
#: What a first start that failed has said, beside its data; ``logs.sh`` reads it.
_FAILED_LOG = "failed-start.log"
#: Characters of a log that an error carries.
_LAST_WORDS = 4000


class Work:
    """The members of one cluster, at work.

    Args:
        book: The open book.
        made: What the swarm is given.
        seen: The cluster as it was observed.
    """

    def __init__(self, book: Book, made: Parts, seen: Galera) -> None:
        self._book, self._made, self._seen = book, made, seen
        self._params = made.params
        self._manager = require_swarm(book)

    def try_settings(self) -> None:
        """Have a server read its settings, before a member is started with them.

        Raises:
            UsageError: It does not know one, or not its value.
        """
        name = next(iter(self._made.services))
        options = [f"--{line}" for line in self._made.settings[1].splitlines()[1:]]
        tried = self._book.fleet[name].run(
            sh(
                "docker run --rm --network none --entrypoint mariadbd @{image} --no-defaults @{options} --verbose --help 2>&1 >/dev/null",
                image=str(self._made.services[name]["image"]),
                options=options,
            ),
            check=False,
        )
        wrong = [each for each in tried.stdout.splitlines() if "[ERROR]" in each or "[Warning] option" in each]
        if not tried.ok or wrong:
            raise UsageError(
                "the server does not take these settings; no member was changed",
                where=name,
                wanted="settings and values that MariaDB has",
                seen="\n".join(wrong) or tried.stdout.strip()[-_LAST_WORDS:] or f"exit {tried.exit}",
                next="correct mariadb_settings in the parameters",
                code=Code.SETTINGS_REFUSED,
            )

    def make_folders(self, folders: Mapping[str, str]) -> None:
        """Make data folders, or the volumes that hold them.

        Args:
            folders: By node.
        """
        command = folder_made(self._params, f"{stack.CLUSTER_LABEL}={self._made.cluster}")
        self._book.fleet.each(lambda host: host.run(command), folders)

    def set_aside(self, name: str, folder: str) -> None:
        """Move a half-made bootstrap aside, with the log of its failure.

        Args:
            name: The node.
            folder: Its data folder.
        """
        self._remove_service(name)
        self._book.fleet[name].run(
            sh(
                "cd @{folder} && mkdir aborted && mv data bootstrap.used aborted && { [ ! -e @{log} ] || mv @{log} aborted; } "
                "&& mv aborted aborted-$(date -u +%Y%m%dT%H%M%SZ)",
                folder=folder,
                log=_FAILED_LOG,
            )
        )

    def found(self, first: str) -> None:
        """Put the mark, start the first member, wait until it is Synced.

        The mark holds what only the founder's service is given, so that a mark which was left over elsewhere founds
        nothing. The first start uses it up before it does anything else; if the service is not deployed, it is withdrawn.

        Args:
            first: The node.
        """
        folder = data_folder(self._params)
        host = self._book.fleet[first]
        host.run(sh("rm -rf @{folder}", folder=f"{folder}/init.d"))
        scripts = self._made.scripts
        for path in scripts.files:
            host.put(f"{folder}/init.d/{path.name}", path)
        if scripts.run:
            host.put(f"{folder}/init.d/.run", "".join(f"{name}\n" for name in scripts.run))
        # Not if a start that we did not see has used the mark up meanwhile: a second one would lie beside data, and be
        # refused for ever.
        put = sh(
            "cd @{folder} && { [ ! -e bootstrap.used ] || { echo used; exit 0; }; } && echo @{founding} > bootstrap",
            folder=folder,
            founding=self._made.founding,
        )
        forget_positions(self._book.cluster, self._params.mariadb_cluster_name)
        if host.run(put).stdout.strip() != "used":
            try:
                self._deploy([first])
            except SwarmbookError:
                self.withdraw(first, folder)
                raise
        try:
            self.wait([first], bootstrapping=True)
        except SwarmbookError:
            self._keep_log(first)
            # Restarting would not help and only fill the log: the mark is used up. The data stays; the next run sets it
            # aside.
            self._remove_service(first)
            raise

    def found_restored(self, name: str) -> None:
        """Found the cluster from data that a restore has put in place.

        The member is given the mark by which one goes on after an outage; it holds for this position, and for as long as we wait.

        Args:
            name: The node.
        """
        folder, host = data_folder(self._params), self._book.fleet[name]
        forget_positions(self._book.cluster, self._params.mariadb_cluster_name)
        marked = sh(
            "cd @{folder} && read -r snapshot position < @{mark} && echo $position $(($(date +%s) + @{limit})) > recover.new "
            "&& sync recover.new && mv -T recover.new recover",
            folder=folder,
            mark=RESTORED,
            limit=self._params.wait_timeout,
        )
        host.run(marked)
        try:
            self._deploy([name])
            self.wait([name], bootstrapping=True)
        except SwarmbookError:
            self._keep_log(name)
            self._remove_service(name)
            host.run(sh("rm -f @{mark}", mark=f"{folder}/recover"), check=False)
            raise
        # The cluster begins on this node, as if it had been founded there.
        host.run(
            sh(
                "cd @{folder} && { [ -e bootstrapped ] || date -u +%FT%TZ > bootstrapped; } && mv -T @{mark} @{used}",
                folder=folder,
                mark=RESTORED,
                used=f"{RESTORED}.used",
            )
        )

    def withdraw(self, name: str, folder: str) -> None:
        """Take away a bootstrap mark, or that of a restore, which was not used up.

        Args:
            name: The node.
            folder: Its data folder.
        """
        self._book.fleet[name].run(sh("rm -f @{marks}", marks=[f"{folder}/bootstrap", f"{folder}/{RESTORED}"]))

    def mark_alone(self, name: str, folder: str, alone: str) -> None:
        """Let the only member go on by itself after a stop, or no longer.

        Args:
            name: The node.
            folder: Its data folder.
            alone: ``yes`` or ``no``.
        """
        mark = f"{folder}/alone"
        self._book.fleet[name].run(sh("touch @{mark}", mark=mark) if alone == "yes" else sh("rm -f @{mark}", mark=mark))

    def join(self, names: list[str]) -> None:
        """Start joiners in waves, never more at once than there are members to donate.

        A joiner without a free donor fails.

        Args:
            names: Their nodes.
        """
        donors = len(self._made.services) - len(names)
        while names:
            wave, names = names[: max(donors, 1)], names[max(donors, 1) :]
            self._deploy(wave)
            self.wait(wave)
            donors += len(wave)

    def update(self, names: Iterable[str]) -> None:
        """Restart members with their new settings, one after the other: each is Synced again before the next one goes.

        Args:
            names: Their nodes.
        """
        for name in names:
            self._at_ease(name)
            self._deploy([name])
            self.wait([name], updating=True)

    def _at_ease(self, name: str) -> None:
        """Wait before a member goes until the others can do without it: it would be one too many where another is behind."""
        others = [node for node, member in self._seen.members.items() if node != name and member.spec]
        ease = Ease(self._book, others, None)
        wait_for(
            f"the members are at ease, before that on {name} is restarted",
            ease.look,
            timeout_s=self._params.wait_timeout,
            where=", ".join(others),
            next="swarmbook status PARAMS",
            code=Code.GATE_CLOSED,
            first_s=0.3,
        )

    def wait(self, names: list[str], *, bootstrapping: bool = False, updating: bool = False) -> None:
        """Wait until members are Synced.

        Args:
            names: Their nodes.
            bootstrapping: The one member founds the cluster: its first end is a failure.
            updating: The swarm replaces its container: the old one may still answer.

        Raises:
            WorldError: One does not bootstrap or join; carries the last words of its log.
            WaitTimeout: It takes too long.
        """
        if not names:
            return
        book, params = self._book, self._params
        started, updates = time.monotonic(), Updates()
        members: dict[str, Member] = {}

        def settled() -> tuple[bool, str]:
            rolling: Mapping[str, str] = {}
            if updating:
                rolling = updates.late(book.engine(self._manager).stack_services(params.mariadb_cluster_name), names)
            members.update(self._ask(names))
            book.samples += [(time.time(), name, member.state) for name, member in members.items()]
            for name, member in members.items():
                if len(member.ended - self._seen.members[name].ended) >= (1 if bootstrapping else _STARTS):
                    raise self._failed(name, bootstrapping)
            late = [
                f"{name}: {member.state}" + (f", update {rolling[name]}" if name in rolling else "")
                for name, member in members.items()
                if not member.synced or name in rolling
            ]
            return not late, f"{'; '.join(late)} after {time.monotonic() - started:.0f} s"

        while True:
            try:
                wait_for(
                    "every member is Synced",
                    settled,
                    timeout_s=params.wait_timeout,
                    where=", ".join(names),
                    next=f"swarmbook ssh {names[0]} docker service logs --tail 40 {service_name(params, names[0])}",
                    first_s=0.3,
                )
            except WaitTimeout:
                # Initial scripts run once: one that is at work is not ended, however long it takes. It shows how far it is.
                if not any(member.script for member in members.values()):
                    raise
            else:
                return

    def reunite(self, within_s: int) -> None:
        """Wait until a member serves. No member is bootstrapped for that: which one may go on is for Galera to know, or for a person to decide.

        Args:
            within_s: Seconds that they may take.

        Raises:
            WorldError: None does; carries every member's position.
        """
        members: dict[str, Member] = {}

        def serving() -> tuple[bool, str]:
            members.update(self._ask(list(self._seen.members)))
            return any(member.synced for member in members.values()), ""

        try:
            timeout_s = min(within_s, REUNION_S, self._params.wait_timeout)
            wait_for("a member serves again", serving, timeout_s=timeout_s, first_s=0.3)
        except WaitTimeout:
            raise nobody_serves(members) from None

    # -- within --------------------------------------------------------------------------------------------------

    def _ask(self, names: list[str]) -> dict[str, Member]:
        """Ask how members are now, once their image and service are known to be there."""
        return self._book.fleet.each(lambda host: host.ask(found_on(self._params, host.name), quiet=True), names)

    def _deploy(self, names: list[str]) -> None:
        cluster = self._params.mariadb_cluster_name
        only = document(self._made, names)
        stack.deploy(self._book, self._manager, cluster, document(self._made), only)

    def _failed(self, name: str, bootstrapping: bool) -> WorldError:
        hint = "" if bootstrapping else "; the donor's log may say more than the joiner's"
        return WorldError(
            f"the member on {name} does not {'bootstrap' if bootstrapping else 'join'}",
            where=f"{name}: service {service_name(self._params, name)}",
            wanted="Synced",
            seen=last_words(self._book, name),
            next=f"fix what the log reports, then: swarmbook run PARAMS --from {self._book.phase}{hint}",
            code=Code.FOUNDING_FAILED if bootstrapping else None,
        )

    def _keep_log(self, name: str) -> None:
        """Keep a member's log beside its data: its containers go with its service, and what they said would go with them."""
        script = sh(
            "umask 077; for c in $(@!{all} -aq | tac); do docker logs -t --tail 400 $c; done > @{file} 2>&1",
            all=of_service(service_name(self._params, name)),
            file=f"{data_folder(self._params)}/{_FAILED_LOG}",
        )
        with contextlib.suppress(SwarmbookError):  # what is raised already says more than this could
            self._book.fleet[name].run(script, check=False, quiet=True)

    def _remove_service(self, name: str) -> None:
        service = service_name(self._params, name)
        self._book.fleet[self._manager].run(sh("docker service rm @{service} >/dev/null", service=service), check=False)
        running = running_of(service)
        wait_for(
            f"the member on {name} has stopped",
            lambda: (not (ids := self._book.fleet[name].ask(running, quiet=True)), " ".join(ids)),
            timeout_s=200,
            where=name,
            next=f"swarmbook ssh {name} docker ps",
        )


def last_words(book: Book, name: str) -> str:
    """Return the last lines that matter of a member's log, of the container that ended last.

    Args:
        book: The open book.
        name: The member's node.
    """
    service = service_name(book.params, name)
    # The newest may be the next try, which has said nothing yet.
    script = sh(
        'c=$(@!{ended} -aq | head -n 1); [ -n "$c" ] || c=$(@!{all} -aq | head -n 1); '
        "docker logs --tail 200 $c 2>&1 | grep -E @{lines} | tail -n 12",
        ended=of_service(service, "status=exited"),
        all=of_service(service),
        lines=r"ERROR|galera:|\.sql|\.sh",
    )
    said = mask(book.fleet[name].run(script, check=False).stdout.strip())
    return said[-_LAST_WORDS:] or "nothing in its log"
