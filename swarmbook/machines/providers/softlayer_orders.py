"""Orders of instances, and their end: placed once, found again when the answer was lost, cancelled until they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from swarmbook.base.errors import OrderUncertain, ProviderError, WaitTimeout
from swarmbook.machines.providers.softlayer_key import RegisteredKey
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.machines.softlayer_types import Instance, Spec
from swarmbook.model.transcript import Transcript
from swarmbook.show.progress import Progress

__all__ = ["Orders"]

T = TypeVar("T")

#: How often in a row an idle instance may refuse to be cancelled.
_REFUSALS = 3


class _WaitFor(Protocol):
    """:func:`swarmbook.base.wait.wait_for`, with its pauses set."""

    def __call__(
        self,
        what: str,
        probe: Callable[[], tuple[bool, T]],
        *,
        timeout_s: float,
        where: str | None = None,
        next: str | None = None,
    ) -> T: ...


class Orders:
    """Orders instances of an account, and cancels them.

    Args:
        api: The service.
        listed: Gives the instances among which an order's is looked for.
        transcript: Gets each order as a person would type it.
        wait_for: Waits.
        settle_s: Seconds that an order may take to show itself when its answer was lost.
    """

    def __init__(
        self,
        api: SoftLayerApi,
        listed: Callable[[], Sequence[Instance]],
        transcript: Transcript,
        wait_for: _WaitFor,
        settle_s: float,
    ) -> None:
        self._api = api
        self._listed = listed
        self._transcript = transcript
        self._wait_for = wait_for
        self._settle_s = settle_s

    def place(self, spec: Spec, key: RegisteredKey, key_id: int, tags: Sequence[str], before: Collection[int]) -> int:
        """Order one instance, once; return its id.

        Args:
            spec: What is ordered.
            key: The SSH key that may log in.
            key_id: Its id in the account.
            tags: What it will be tagged with; a person would type them with the order.
            before: Ids of the instances that were there before any order of this run.

        Raises:
            OrderUncertain: The answer was lost, and no such instance has shown itself.
            ProviderError: The order was refused.
        """
        started, exit_code, outcome = time.monotonic(), 0, ""
        try:
            return self._api.order(spec, [key_id])
        except OrderUncertain as error:
            outcome = f"no answer; looked for as {spec.fqdn}"
            return self._find(spec, before, error)
        except ProviderError as error:
            exit_code, outcome = 1, error.seen or error.what
            raise
        finally:
            self._transcript.record(
                "here",
                _by_hand(spec, key.label, tags, self._api.rehearsal),
                exit_code,
                time.monotonic() - started,
                outcome,
            )

    def _find(self, spec: Spec, before: Collection[int], error: OrderUncertain) -> int:
        """Find the instance of an order whose answer was lost: the one of its name that was not there before."""

        def look() -> tuple[bool, Instance | None]:
            named = (
                i
                for i in self._listed()
                if (i.hostname, i.domain) == (spec.hostname, spec.domain) and i.id not in before
            )
            found = next(named, None)
            return found is not None, found

        try:
            found = self._wait_for(f"{spec.fqdn} to show itself", look, timeout_s=self._settle_s)
        except WaitTimeout:
            error.wanted = f"an answer, or the instance in the account within {self._settle_s:g} s"
            error.next = f"it may still appear, and be charged: slcli vs list --hostname {spec.hostname}; then run it again, which looks first"
            raise error from None
        assert found is not None
        return found.id

    def cancel(self, instance: Instance, timeout_s: float, progress: Progress) -> None:
        """Cancel until it is gone: an instance that is being worked on may refuse. A lost answer shows in the next look.

        Args:
            instance: Which.
            timeout_s: Seconds that it may take to go.
            progress: Shows that it is waited for.

        Raises:
            ProviderError: It was refused though nothing is at work on the instance.
            WaitTimeout: It is still there; names it.
        """
        accepted, refusals = False, 0

        def look() -> tuple[bool, str]:
            nonlocal accepted, refusals
            now = next((i for i in self._listed() if i.id == instance.id), None)
            if now is None:
                return True, "gone"
            seen = now.transaction or "there"
            if not accepted:
                try:
                    self._api.cancel(instance.id)
                    accepted = True
                except OrderUncertain as error:
                    seen = error.seen or error.what
                except ProviderError as error:
                    refusals = 0 if now.transaction else refusals + 1
                    seen = f"{seen}; {error.seen}"
                    if refusals >= _REFUSALS:
                        raise
            progress.show(f"{instance.fqdn}: {seen}")
            return False, seen

        self._wait_for(
            f"{instance.fqdn} (id {instance.id}) to be cancelled",
            look,
            timeout_s=timeout_s,
            where=self._api.endpoint,
            next=f"it may still be charged: slcli vs detail {instance.id}; then: swarmbook cancel PARAMS",
        )


def _by_hand(spec: Spec, label: str, tags: Sequence[str], rehearsal: bool) -> str:
    """Render the order as a person would type it."""
    disks = " ".join(f"--disk {size}" for size in spec.disks_gb)
    vlans = "".join(
        f" --vlan-{kind} {id}" for kind, id in (("public", spec.public_vlan), ("private", spec.private_vlan)) if id
    )
    command = (
        f"slcli vs create --hostname={spec.hostname} --domain={spec.domain} --cpu {spec.cpus} --memory {spec.memory_mb} -o {spec.os_code} "
        f"--billing {'hourly' if spec.hourly else 'monthly'} --datacenter={spec.datacenter} {disks}{'' if spec.local_disk else ' --san'} "
        f"--network {spec.nic_mbps}{vlans} {' '.join(f'--tag {tag}' for tag in tags)} -k {label} -u '{spec.mark}'"
    )
    return f"{command}  # REHEARSAL" if rehearsal else command
