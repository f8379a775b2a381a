"""The cluster's SSH key in the account: registered once, found again by its label, never confused with another."""

from __future__ import annotations

import contextlib

from swarmbook.access.cluster import Cluster
from swarmbook.access.ssh_keys import fingerprint, same_key
from swarmbook.base.errors import ForeignData, OrderUncertain, ProviderError
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.machines.softlayer_types import AccountKey

__all__ = ["RegisteredKey"]


class RegisteredKey:
    """One key under one label.

    Args:
        api: The service.
        cluster: Whose key it is.
        label: Under which it is registered.
        notes: What the account notes with a key that this cluster registered.
    """

    def __init__(self, api: SoftLayerApi, cluster: Cluster, label: str, notes: str) -> None:
        self._api = api
        self._cluster = cluster
        self.label = label
        self._notes = notes

    def _public(self) -> str:
        """Return the cluster's public key; empty while it has none."""
        path = self._cluster.key_file.with_suffix(".pub")
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def find(self) -> AccountKey | None:
        """Find the key as it is registered; None if it is not.

        Raises:
            ForeignData: Another key has that label.
        """
        public = self._public()
        for key in self._api.keys(self.label):
            if public and key.fingerprint == fingerprint(public) and (not key.text or same_key(key.text, public)):
                return key
            raise ForeignData(
                f"the SSH key label {self.label} belongs to another key",
                where=f"{self._api.endpoint}, SSH key {key.id}",
                wanted=f"{fingerprint(public)} (of {self._cluster.key_file}.pub)"
                if public
                else "no key of that label: the cluster has no key yet",
                seen=key.fingerprint,
                next=f"choose another sl_ssh_key_label, or restore the cluster's key; if that key is no longer needed: slcli sshkey remove {key.id}",
            )
        return None

    def ensure(self) -> int:
        """Register the key if it is not; return its id."""
        found = self.find()
        if found is not None:
            return found.id
        try:
            return self._api.register_key(self._public(), self.label, self._notes)
        except OrderUncertain:
            found = self.find()  # only the answer may have been lost
            if found is None:
                raise
            return found.id
        except ProviderError as error:
            with contextlib.suppress(ProviderError):  # the refusal says more than a look that failed after it
                ours = fingerprint(self._public())
                for key in self._api.keys(""):
                    if key.fingerprint == ours:
                        error.next = (
                            f"the account has this key as {key.label}: sl_ssh_key_label: {key.label} in the parameters"
                        )
            raise

    def own(self) -> list[AccountKey]:
        """List the key that this cluster registered; one that others registered stays, even if the cluster uses it."""
        return [key for key in self._api.keys(self.label) if key.notes == self._notes]
