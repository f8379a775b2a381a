"""What the service remembers of an account, and the file that keeps it, where it is to outlive a process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from swarmbook.base.files import write_private
from swarmbook.machines.rehearsal.faults import Fault, FaultPlan
from swarmbook.machines.rehearsal.guests import Guest

__all__ = ["Account", "AccountFile"]

_FORMAT = 1


@dataclass
class Account:
    """Keys, instances and what is still to go wrong.

    Args:
        keys: SSH keys by id.
        guests: Instances by id.
        faults: How the service misbehaves.
        last: The last id that was given.
        up_s: Seconds that an instance takes at least until it runs, however soon its machine does.
    """

    keys: dict[int, dict[str, Any]] = field(default_factory=dict)
    guests: dict[int, Guest] = field(default_factory=dict)
    faults: FaultPlan = field(default_factory=FaultPlan)
    last: int = 1_000_000
    up_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the account as its file has it."""
        return {
            "format": _FORMAT,
            "what": "REHEARSAL: an account that does not exist; nothing of it is rented",
            "keys": list(self.keys.values()),
            "guests": [dataclasses.asdict(guest) for guest in self.guests.values()],
            "faults": [{**dataclasses.asdict(fault), "left": left} for fault, left in self.faults.left()],
            "last": self.last,
            "up_s": self.up_s,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Account:
        """Build an account from what :meth:`to_json` gave.

        Raises:
            ValueError: It is none, or a newer one.
        """
        if data.get("format") != _FORMAT:
            raise ValueError(f"format {data.get('format')}, wanted {_FORMAT}")
        faults = FaultPlan()
        for entry in data["faults"]:
            faults.add(Fault(**{key: value for key, value in entry.items() if key != "left"}), entry["left"])
        keys = {int(key["id"]): key for key in data["keys"]}
        guests = {int(guest["id"]): Guest(**guest) for guest in data["guests"]}
        return cls(keys, guests, faults, int(data["last"]), data["up_s"])


class AccountFile:
    """Keeps an account between processes: each call of any of them sees what the others have done.

    Args:
        path: Of the file; made at the first call that leaves something to remember, and removed when there is nothing left.
        up_s: Seconds that an instance takes at least, while the file says nothing else.
    """

    def __init__(self, path: Path, up_s: float = 0.0) -> None:
        self.path = path
        self._up_s = up_s

    @contextlib.contextmanager
    def held(self) -> Iterator[Account]:
        """Yield the account to one caller at a time; what it did is kept, also when it ends with an error.

        Raises:
            ValueError: The file holds no account.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(self.path.with_suffix(".lock"), timeout=60):
            account = self._read()
            try:
                yield account
            finally:
                self._write(account)

    def _read(self) -> Account:
        try:
            return Account.from_json(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            # An account that was emptied, and its file with it, begins with other ids: what still serves the old one knows those as ended.
            return Account(last=1_000_000 + int(time.time()) % 10_000_000 * 20, up_s=self._up_s)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"REHEARSAL: {self.path} is no account: {error}. Remove the file, and with it the account."
            ) from None

    def _write(self, account: Account) -> None:
        if account == Account(last=account.last, up_s=self._up_s):
            self.path.unlink(missing_ok=True)
            return
        text = json.dumps(account.to_json(), indent=1)
        write_private(self.path, text)
