"""The agent of one member: holds it open while it is the writer, fenced while another one is, and says which over HTTP.

    GET /writer   200 this member is the writer, and open; 404 it is about to hand over: no new client; 503 neither
    GET /reader   200 it is Synced; 503 it is not
    GET /         200 all of that as JSON
    GET /metrics  200 the same for Prometheus, and when the member's certificates end

An answer is given from a look that is at most a second old: an agent that was stopped, or whose server hangs, says 503.
The server is asked by MariaDB's own client, which stays connected, through the unix socket.

Environment: GALERA_MEMBER. SIGTERM: hand over, where there is something to hand over, and end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

from swarmbook.machines.images.galera.follower import QUERY as _FOLLOWING
from swarmbook.machines.images.galera.follower import Follower, read_following
from swarmbook.machines.images.galera.listener import Heard, serve
from swarmbook.machines.images.galera.pace import FRESH_S, Pace
from swarmbook.machines.images.galera.patience import LARGE, PATIENT, Patience, as_options, statements
from swarmbook.machines.images.galera.word import Word, metrics
from swarmbook.machines.images.galera.writer import Action, Decision, Memory, Place, Row, Seen, decide

PORT = 9200
#: Seconds at most between the word that no new client is to come, and the fence: HAProxy asks every 100 ms, and on a busy machine later.
NOTICE_S = 2.0
#: Seconds that open statements and commits may take when the member is fenced, before their sessions are ended.
LOCK_S = 2
#: Seconds that an answer of the server's may take.
ANSWER_S = 5.0

_STATUS = (
    "wsrep_cluster_status",
    "wsrep_local_state_comment",
    "wsrep_ready",
    "wsrep_gcomm_uuid",
    "wsrep_cluster_conf_id",
)
_ROW = "SELECT 'row', term, uuid, name, asked FROM swarmbook.writer WHERE id = 1;"
#: Sessions that a fence is for, those that are just logging in among them: not the server's own, and no one's who may write all the same.
_CLIENTS = (
    "SELECT 'id', ID FROM information_schema.PROCESSLIST WHERE USER NOT IN ('root', 'mysql', 'system user', 'event_scheduler') "
    "AND COMMAND <> 'Daemon' AND CONCAT('''', USER, '''@''%''') NOT IN "
    "(SELECT GRANTEE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN ('READ_ONLY ADMIN', 'READ ONLY ADMIN'))"
)


def log(text: str) -> None:
    """Write a line to the container's log."""
    os.write(2, (f"{datetime.now(timezone.utc):%FT%T.%f}"[:-3] + f"Z agent: {text}\n").encode())


class Trouble(Exception):
    """The server does not answer, or not as it should."""


class Server:
    """MariaDB's client in the background, connected for as long as that lasts."""

    def __init__(self) -> None:
        self._client: subprocess.Popen[bytes] | None = None
        self._asked = 0

    def ask(self, *statements: str, timeout_s: float = ANSWER_S) -> list[list[str]]:
        """Run statements, each of one line, and return the rows of all of them; an error is a row that begins with ERROR."""
        client = self._client
        if client is None or client.poll() is not None:
            client = self._client = subprocess.Popen(
                [
                    "mariadb",
                    "--user=mysql",
                    "--batch",
                    "--skip-column-names",
                    "--unbuffered",
                    "--force",
                    "--connect-timeout=2",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            statements = (
                "SET SESSION wsrep_sync_wait = 0, wsrep_dirty_reads = ON, lock_wait_timeout = 5;",
                *statements,
            )
        assert client.stdin is not None and client.stdout is not None
        self._asked += 1
        end = f"end {self._asked}"
        try:
            client.stdin.write("\n".join([*statements, f"SELECT '{end}';", ""]).encode())
            client.stdin.flush()
            return list(self._rows(client.stdout.fileno(), end, time.monotonic() + timeout_s))
        except (OSError, Trouble) as error:
            self.close()
            raise Trouble(str(error)) from None

    @staticmethod
    def _rows(pipe: int, end: str, until: float) -> Iterator[list[str]]:
        left = b""
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise Trouble("no answer in time")
            read = os.read(pipe, 65536)
            if not read:
                raise Trouble((left or b"the client has ended").decode(errors="replace").strip()[:200])
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                if text == end:
                    return
                if text.startswith(("ERROR 20", "ERROR 1045", "ERROR 1040")):
                    raise Trouble(text[:200])
                yield text.split("\t")

    def close(self) -> None:
        """End the client, whatever it is at."""
        if self._client is not None:
            self._client.kill()
            self._client.communicate()
            self._client = None


class Agent:
    """Looks, decides, and does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._server = Server()
        self._memory = Memory()
        self._follower = Follower(self._server.ask, log)
        self._patience = Patience(os.environ.get("GALERA_NETWORK", "lan"))
        self._view = ""  # the view in which the row was read behind everything else
        self._seen_view = ""
        self._leaving = False
        self._looked = 0.0
        self._said = self._state = ""
        self._addresses: dict[str, str] = {}
        self.word = Word()
        self.heard = Heard()
        self.stop = threading.Event()

    def run(self) -> None:
        """Look and act until asked to stop, and then until nothing is left to hand over."""
        until, pace = 0.0, Pace()
        while True:
            begun, answered = time.monotonic(), True
            if self.stop.is_set() and not self._memory.stopping:
                self._memory = replace(self._memory, stopping=True)
                until = begun + 10
            try:
                done = self._once()
            except Trouble as error:
                self._note(f"the server does not answer: {error}")
                self.word = replace(Word(), why=str(error))
                self._view = ""
                done, answered = True, False
            if self._memory.stopping and (done or time.monotonic() > until):
                return
            time.sleep(pace.pause(time.monotonic() - begun, answered=answered))

    def _once(self) -> bool:
        """Look once and do what follows; tell whether there is nothing to hand over."""
        begun = time.monotonic()
        seen = self._look(causal=False)
        if time.monotonic() - self._looked > FRESH_S and self._looked:
            # It was frozen, or its server was: the others may have gone on without it, and it does not know yet. What it would commit
            # is refused then, and it is not called the writer before it has read the row behind all that the others committed.
            self._view = ""
            seen = self._look(causal=False)
        self._looked = begun
        mine = seen.row is not None and seen.row.writer.uuid == seen.me.uuid
        if mine and seen.row is not None and (self._memory.stopping or seen.row.asked or not seen.synced):
            self._memory = replace(self._memory, able=tuple(self._able(seen)))
        decision = decide(seen, self._memory, time.monotonic())
        if decision.action is Action.LOOK_AGAIN:
            seen = self._look(causal=True)
            decision = decide(seen, decision.memory, time.monotonic())
        self._memory = decision.memory
        if decision.action not in (Action.NOTHING, Action.LOOK_AGAIN):
            self._note(f"{decision.action.value}: {decision.why}")
        if self._act(decision, seen):  # what it says now holds from the next look on
            seen = self._look(causal=False)
        self._follower.look(seen.following, seen.serves, mine and not self._memory.stopping, time.monotonic())
        self._speak(seen)
        self._be_patient(seen)
        return seen.row is None or seen.row.writer.uuid != seen.me.uuid or not seen.primary

    # -- what it sees ----------------------------------------------------------------------------------------------

    def _look(self, *, causal: bool) -> Seen:
        # Behind everything that was committed: the server waits until that is applied here, or gives up.
        row = ["SET SESSION wsrep_sync_wait = 1;", _ROW, "SET SESSION wsrep_sync_wait = 0;"] if causal else [_ROW]
        names = ", ".join(f"'{name}'" for name in _STATUS)
        rows = self._server.ask(
            *row,
            _FOLLOWING,
            f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names});",
            "SHOW GLOBAL VARIABLES LIKE 'read_only';",
            "SELECT 'member', node_uuid, node_name, node_incoming_address FROM mysql.wsrep_cluster_members;",
        )
        facts = {each[0]: each[1] for each in rows if len(each) == 2}
        status = {name: facts.get(name, "") for name in _STATUS}
        found = [each for each in rows if each[0] == "row"]
        errors = [each[0] for each in rows if each[0].startswith("ERROR")]
        followed = [each for each in rows if each[0] == "following"]
        # No database, or no table: there is no election, and no one is followed. Any other error says nothing of either.
        known = all(error.startswith(("ERROR 1049", "ERROR 1146")) for error in errors)
        state = status["wsrep_local_state_comment"]
        view = self._seen_view = f"{status['wsrep_gcomm_uuid']} {status['wsrep_cluster_conf_id']}"
        if causal and known:
            self._view = view
        members = [each for each in rows if each[0] == "member" and len(each) == 4]
        self._addresses = {each[2]: each[3].partition(":")[0] for each in members}
        seen = Seen(
            Place(status["wsrep_gcomm_uuid"], self._name),
            primary=known and status["wsrep_cluster_status"] == "Primary" and status["wsrep_ready"] == "ON",
            synced=state == "Synced",
            donor=state == "Donor/Desynced",
            read_only=facts.get("read_only") != "OFF",
            view=tuple(Place(each[1], each[2]) for each in members),
            row=Row(int(found[0][1]), Place(found[0][2], found[0][3]), found[0][4]) if found else None,
            current=self._view == view,
            following=read_following(followed[0]) if followed else None,
        )
        self._state = state
        return seen

    def _able(self, seen: Seen) -> Iterator[str]:
        """Give the names of the other members that say that they are Synced; while only a wish is open, of no one but its member."""
        assert seen.row is not None
        only = "" if self._memory.stopping or not seen.synced else seen.row.asked
        names = (each.name for each in seen.view if each.uuid != seen.me.uuid and only in ("", each.name))
        return (name for name in names if _is_able(self._addresses.get(name, "")))

    # -- what it does ----------------------------------------------------------------------------------------------

    def _act(self, decision: Decision, seen: Seen) -> bool:
        action, row = decision.action, seen.row
        if action is Action.OPEN:
            self._server.ask("SET GLOBAL read_only = 0;")
        elif action is Action.FENCE:
            self._fence(kill=seen.primary)
        elif action is Action.CLAIM and row is not None:
            gone = "NOT EXISTS (SELECT 1 FROM mysql.wsrep_cluster_members m WHERE m.node_uuid = swarmbook.writer.uuid)"
            self._change(row, seen.me, decision.why, f" AND {gone}")
        elif action is Action.HAND_OVER and row is not None:
            self._hand_over(row, decision)
        elif action is Action.FORGET and row is not None:
            self._server.ask(f"UPDATE swarmbook.writer SET asked = '' WHERE id = 1 AND term = {row.term};")  # noqa: S608 - a number
        else:
            return False
        return True

    def _fence(self, *, kill: bool) -> None:
        """Let no one write any more: what is being committed is waited for, and who is in a transaction then is sent away."""
        for attempt in range(3):
            rows = self._server.ask(
                f"SET STATEMENT lock_wait_timeout = {LOCK_S} FOR SET GLOBAL read_only = 1;", timeout_s=LOCK_S + ANSWER_S
            )
            failed = [each[0] for each in rows if each[0].startswith("ERROR")]
            if kill:
                self._send_away()
            if not failed:
                return
            log(f"not fenced yet ({attempt + 1}): {failed[0]}")
        raise Trouble(failed[0])

    def _send_away(self) -> None:
        ids = [each[1] for each in self._server.ask(f"{_CLIENTS};") if each[0] == "id"]
        if ids:
            self._server.ask(*(f"KILL {int(each)};" for each in ids))

    def _be_patient(self, seen: Seen) -> None:
        """Set how long the others may be silent, where that is to change."""
        now = time.monotonic()
        timeouts = self._patience.due(self._seen_view, seen.primary and seen.synced, now, len(seen.view))
        if timeouts is None:
            return
        # The first that does not say so is enough: while they are asked, this member's own word grows old.
        others = (place.name for place in seen.view if place.uuid != seen.me.uuid)
        if timeouts not in (PATIENT, LARGE) and not all(_is_able(self._addresses.get(name, "")) for name in others):
            self._patience.put_off(now)
            return
        rows = self._server.ask(*statements(timeouts))
        if any(each[0].startswith("ERROR 1193") for each in rows):  # an unknown variable: 10.11
            rows = self._server.ask(*as_options(timeouts))
        failed = [each[0] for each in rows if each[0].startswith("ERROR")]
        self._patience.is_set(timeouts)
        log(f"not set: {failed[0]}" if failed else f"silent members are suspected after {timeouts.suspect_s:g} s")

    def _hand_over(self, row: Row, decision: Decision) -> None:
        self.word = replace(self.word, writer=404, at=time.monotonic())
        self._leaving = True
        self.heard.wait(NOTICE_S)
        try:
            self._follower.stop()
            self._fence(kill=True)
            self.word = replace(self.word, writer=503, at=time.monotonic())
            self._change(row, decision.to or Place("", ""), decision.why)
        finally:
            self._leaving = False

    def _change(self, row: Row, to: Place, why: str, only: str = "") -> None:
        text = why.replace("\\", "").replace("'", "")[:120]
        rows = self._server.ask(
            # A member's name has no quote, and an id neither.
            f"UPDATE swarmbook.writer SET term = term + 1, uuid = '{to.uuid}', name = '{to.name}', asked = '', why = '{text}', "  # noqa: S608
            f"since = UTC_TIMESTAMP(3) WHERE id = 1 AND term = {row.term}{only};"
        )
        for each in rows:
            if each[0].startswith("ERROR"):
                log(f"not {to.name or 'given away'}: {each[0]}")

    # -- what it says ----------------------------------------------------------------------------------------------

    def _speak(self, seen: Seen) -> None:
        mine = seen.row is not None and seen.row.writer.uuid == seen.me.uuid
        open_ = seen.serves and not seen.read_only and seen.current
        self.word = Word(
            writer=200 if mine and open_ else 503,
            reader=200 if seen.primary and seen.synced else 503,
            at=time.monotonic(),
            state=self._state,
            who=seen.row.writer.name if seen.row else "",
            term=seen.row.term if seen.row else 0,
            asked=seen.row.asked if seen.row else "",
            primary=seen.primary,
            read_only=seen.read_only,
            follows=seen.following.source if seen.following is not None else "",
            replica=self._follower.replica if mine else None,
        )
        text = "writer" if self.word.writer == 200 else "reader" if self.word.reader == 200 else "neither"
        fence = "fenced" if seen.read_only else "open"
        self._note(f"{text}: {self._state}, {fence}, term {self.word.term}, writer {self.word.who or 'no one'}")

    def _note(self, text: str) -> None:
        if text != self._said:
            self._said = text
            log(text)

    def answer(self, path: str) -> tuple[int, str]:
        """Return the status and the body for a path."""
        word = self.word
        fresh = self._leaving or time.monotonic() - word.at <= FRESH_S
        writer, reader = (word.writer, word.reader) if fresh else (503, 503)
        if path == "/":
            said = {
                "member": self._name, "writer": writer == 200, "reader": reader == 200, "leaving": writer == 404, "read_only": word.read_only,
                "state": word.state, "primary": word.primary, "term": word.term, "writer_is": word.who, "asked": word.asked, "fresh": fresh, "why": word.why,
                "standby": word.standby() if word.follows else None,
            }  # fmt: skip
            return 200, json.dumps(said)
        if path == "/metrics":
            return 200, metrics(word, writer == 200, reader == 200, fresh)
        code = {"/writer": writer, "/reader": reader}.get(path, 400)
        return code, word.state


def _is_able(address: str) -> bool:
    """Ask another member's agent whether that member is Synced; one without an address, or that says nothing, is not."""
    if not address:
        return False
    with contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=0.3) as to:
        to.sendall(b"GET /reader HTTP/1.0\r\n\r\n")
        return to.recv(64).startswith(b"HTTP/1.0 200")
    return False


def main() -> None:
    """Run the agent of this container's member."""
    agent = Agent(os.environ["GALERA_MEMBER"])
    signal.signal(signal.SIGTERM, lambda *_: agent.stop.set())
    listener = socket.create_server(("", PORT), backlog=64)
    threading.Thread(target=serve, args=(agent.answer, agent.heard, listener), daemon=True).start()
    agent.run()


if __name__ == "__main__":
    main()
