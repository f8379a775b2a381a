"""IBM Cloud Classic through the SoftLayer client: this is the one place that knows it.

Every call has a time limit and a mask of our own (the client's ask for root's passwords). What the client raises becomes an
error of ours that keeps the service's words. Looking is tried again when the network, the rate limit (50 calls a second,
softlayer-python issue 884) or the service fails; nothing else ever is: an order may have been taken although its answer was
lost, which is what :class:`OrderUncertain` says.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from swarmbook.access.answers import bound
from swarmbook.access.probe import understood
from swarmbook.base.border import foreign
from swarmbook.base.codes import Code
from swarmbook.base.errors import OrderUncertain, ProviderError, UsageError
from swarmbook.base.secrets import mask, register
from swarmbook.machines.rehearsal.door import USERNAME
from swarmbook.machines.softlayer_types import AccountKey, Instance, Offering, Price, Spec, dollars, said

__all__ = [
    "CLOSED_OFF",
    "SoftLayerApi",
]

T = TypeVar("T")
_INSTANCE = (
    "mask[id,hostname,domain,primaryIpAddress,primaryBackendIpAddress,provisionDate,powerState[keyName],"
    "activeTransaction[id,transactionStatus[name,friendlyName]],tagReferences[tag[name]],userData[value]]"
)
_KEY = "mask[id,label,fingerprint,key,notes]"
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
#: Where nothing leaves this computer.
CLOSED_OFF = "127.0.0.1", "localhost", "::1"


class SoftLayerApi:
    """The calls that the provider makes.

    Args:
        endpoint: URL of the service; empty: what ``~/.softlayer`` says, else the public one.
        rehearsal_key: What a rehearsal (an endpoint on this computer) is called with: a real account's key is never sent there.
        timeout_s: Seconds that a single call may take.
        sleep: Pauses between tries.

    Raises:
        UsageError: No credentials, or an endpoint that they must not be sent to.
    """

    def __init__(
        self,
        endpoint: str = "",
        rehearsal_key: str = "",
        *,
        timeout_s: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import SoftLayer
        from SoftLayer import auth, config, consts, transports

        settings = config.get_client_settings()
        # Over REST the client drops the names of errors, and what was refused looks like what failed.
        self.endpoint = (endpoint or settings.get("endpoint_url") or consts.API_PUBLIC_ENDPOINT).replace(
            "/rest/", "/xmlrpc/"
        )
        address = urlsplit(self.endpoint)
        self.rehearsal = address.hostname in CLOSED_OFF
        if not self.rehearsal and address.scheme != "https":
            raise UsageError(
                "this endpoint would receive the API key unencrypted",
                where=f"sl_endpoint {self.endpoint}",
                wanted="https://",
                next="correct sl_endpoint",
                code=Code.CLEARTEXT_REFUSED,
            )
        username, api_key = settings.get("username"), settings.get("api_key")
        if self.rehearsal:
            username, api_key = USERNAME, rehearsal_key
            if not rehearsal_key:
                raise UsageError(
                    "no rehearsal of this folder is served there, and a real key is never sent to this computer itself",
                    where=f"sl_endpoint {self.endpoint}",
                    wanted="the key of a rehearsal, in a file that `swarmbook rehearse --serve` writes in this folder",
                    next="sl_endpoint: rehearsal, which needs no process beside it",
                    code=Code.CREDENTIALS_MISSING,
                )
        if not username or not api_key:
            raise UsageError(
                "no credentials for SoftLayer",
                where="environment and ~/.softlayer",
                wanted="SL_USERNAME and SL_API_KEY, or the section [softlayer] of ~/.softlayer with username and api_key",
                seen="no user name" if not username else "no API key",
                next="export SL_USERNAME=... SL_API_KEY=..., or: slcli config setup",
                code=Code.CREDENTIALS_MISSING,
            )
        register(str(api_key))
        transport = transports.XmlRpcTransport(
            endpoint_url=self.endpoint,
            timeout=timeout_s,
            proxy=None if self.rehearsal else settings.get("proxy"),
            verify=settings.get("verify", True),
        )
        bound(transport.client)
        transport.client.trust_env = not self.rehearsal  # no proxy for what is on this computer
        self._transport = transport
        self._client = SoftLayer.BaseClient(auth=auth.BasicAuthentication(username, api_key), transport=transport)
        self._guests = SoftLayer.VSManager(self._client)
        self._sleep = sleep
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close its connections."""
        self._transport.client.close()

    # -- looking -----------------------------------------------------------------------------------------------

    def offering(self) -> Offering:
        """Return what can be ordered."""
        found = self._read("what can be ordered", lambda: self._client.call("Virtual_Guest", "getCreateObjectOptions"))
        with self._understood():
            places = [entry["template"]["datacenter"]["name"] for entry in found.get("datacenters", ())]
            systems = [entry["template"]["operatingSystemReferenceCode"] for entry in found.get("operatingSystems", ())]
            return Offering(tuple(sorted(map(said, places))), tuple(sorted(map(said, systems))))

    def price(self, spec: Spec) -> Price:
        """Return what an instance costs: the service checks the order, and does not place it."""
        found = self._read(
            f"the price of {spec.hostname}", lambda: self._guests.order_guest(spec.arguments(), test=True)
        )
        fee = "hourlyRecurringFee" if spec.hourly else "recurringFee"
        with self._understood():
            total = sum(dollars(price.get(fee) or 0) for price in found["prices"])
        return Price(total, 0.0) if spec.hourly else Price(0.0, total)

    def keys(self, label: str) -> list[AccountKey]:
        """List the registered SSH keys with exactly this label; without one, all."""
        only = {"sshKeys": {"label": {"operation": label}}} if label else {}
        found = self._read(
            "the account's SSH keys", lambda: self._client.call("Account", "getSshKeys", mask=_KEY, filter=only)
        )
        with self._understood():
            # A filter that the service does not understand is ignored in silence.
            return [AccountKey.from_json(entry) for entry in found if label in ("", entry.get("label"))]

    def instances(self, domain: str, tag: str) -> list[Instance]:
        """List the account's instances in a domain or with a tag, in the order of their ids."""
        found: dict[int, Instance] = {}
        tagged = {
            "tagReferences": {"tag": {"name": {"operation": "in", "options": [{"name": "data", "value": [tag]}]}}}
        }
        order = {"id": {"operation": "orderBy", "options": [{"name": "sort", "value": ["ASC"]}]}}
        for criteria in ({"domain": {"operation": domain}}, tagged):
            for instance in self._listed({"virtualGuests": {**criteria, **order}}):
                if instance.domain == domain or tag in instance.tags:
                    found[instance.id] = instance
        return [found[id] for id in sorted(found)]

    def _listed(self, criteria: Mapping[str, Any]) -> list[Instance]:
        found = self._read(
            "the account's instances",
            lambda: self._client.call("Account", "getVirtualGuests", mask=_INSTANCE, filter=criteria, iter=True),
        )
        with self._understood():
            return [Instance.from_json(entry) for entry in found]

    def _understood(self) -> contextlib.AbstractContextManager[None]:
        return understood("SoftLayer", f"look at what answers at {self.endpoint}; then run it again")

    # -- writing: never tried twice ----------------------------------------------------------------------------

    def register_key(self, public: str, label: str, notes: str) -> int:
        """Register a public SSH key; return its id."""
        import SoftLayer

        return int(
            self._write(
                f"registering the SSH key {label}",
                lambda: SoftLayer.SshKeyManager(self._client).add_key(public, label, notes)["id"],
            )
        )

    def remove_key(self, id: int) -> None:
        """Take a registered key away."""
        import SoftLayer

        self._write(f"removing the SSH key {id}", lambda: SoftLayer.SshKeyManager(self._client).delete_key(id))

    def order(self, spec: Spec, key_ids: Iterable[int]) -> int:
        """Order one instance; return its id. This costs money.

        Raises:
            OrderUncertain: It was sent, and whether it was accepted is unknown: check before you order again.
            ProviderError: It was refused; nothing was ordered.
        """
        ids = tuple(key_ids)
        return int(
            self._write(f"ordering {spec.fqdn}", lambda: self._guests.create_instance(**spec.arguments(ids))["id"])
        )

    def tag(self, id: int, tags: Iterable[str]) -> None:
        """Give an instance these tags and no others."""
        names = ",".join(tags)
        self._write(f"tagging instance {id}", lambda: self._client.call("Virtual_Guest", "setTags", names, id=id))

    def power_on(self, id: int) -> None:
        """Switch an instance on."""
        self._write(f"switching instance {id} on", lambda: self._client.call("Virtual_Guest", "powerOn", id=id))

    def cancel(self, id: int) -> None:
        """Cancel an instance, with all that is on it."""
        self._write(f"cancelling instance {id}", lambda: self._guests.cancel_instance(id))

    # -- errors ------------------------------------------------------------------------------------------------

    def _read(self, what: str, call: Callable[[], T]) -> T:
        for pause in (*_PAUSES_S, None):
            try:
                return call()
            except Exception as error:
                if not _fails(error):
                    raise
                if pause is None or not _passing(error):
                    raise self._translated(what, error) from None
            self._sleep(pause)
        raise AssertionError("not reached")

    def _write(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            if not _fails(error):
                raise
            if _unanswered(error):
                raise OrderUncertain(
                    f"{what}: sent, and no answer came: whether it was done is unknown",
                    where=self.endpoint,
                    wanted=f"an answer within {self._timeout_s:g} s",
                    seen=_words(error),
                    next="check before you repeat anything: swarmbook plan PARAMS, or: slcli vs list",
                ) from None
            raise self._translated(what, error) from None

    def _translated(self, what: str, error: Exception) -> ProviderError:
        text, words = str(error), _words(error)
        if "Invalid API token" in text or str(getattr(error, "faultCode", "")) == "401":
            return ProviderError(
                "SoftLayer does not accept the credentials",
                where=self.endpoint,
                wanted="the user name and API key of the account",
                seen=words,
                next="check SL_USERNAME and SL_API_KEY, or ~/.softlayer; then: slcli account summary",
                code=Code.CREDENTIALS_REFUSED,
            )
        if _rate_limited(error):
            return ProviderError(
                f"{what}: too many calls",
                where=self.endpoint,
                wanted="at most 50 a second for the whole account",
                seen=words,
                next="run it again in a moment",
                code=Code.RATE_LIMITED,
            )
        if _unanswered(error):
            tries = f"{len(_PAUSES_S) + 1} tries"
            return ProviderError(
                f"{what}: SoftLayer does not answer",
                where=self.endpoint,
                wanted=f"an answer within {self._timeout_s:g} s, in {tries}",
                seen=words,
                next="run it again",
            )
        return ProviderError(
            f"{what}: SoftLayer refused",
            where=self.endpoint,
            seen=words,
            next="fix what it reports, then run again",
            code=Code.PROVIDER_SAYS_NO,
        )


def _fails(error: Exception) -> bool:
    """Tell whether a call raised it: the client, what it lets through when an answer is no XML-RPC, or what it stands on."""
    return foreign(error) or isinstance(error, (ValueError, KeyError, TypeError))


def _unanswered(error: Exception) -> bool:
    """Tell whether the outcome of the call is unknown."""
    from SoftLayer import exceptions

    lost = exceptions.TransportError, exceptions.ServerError, exceptions.ApplicationError, exceptions.RemoteSystemError
    if isinstance(error, exceptions.TransportError):
        # A status from 400 to 499 is the service's, and says that the call was not taken.
        return not 400 <= _status(error) < 500
    if isinstance(error, (exceptions.SoftLayerError, ValueError)) and not isinstance(error, UnicodeError):
        return isinstance(error, lost)
    return True


def _status(error: Exception) -> int:
    with contextlib.suppress(TypeError, ValueError):
        return int(getattr(error, "faultCode", 0))
    return 0


def _rate_limited(error: Exception) -> bool:
    return "RateLimit" in str(getattr(error, "faultCode", "")) or _status(error) == 429


def _passing(error: Exception) -> bool:
    """Tell whether the same look may succeed in a moment."""
    return _rate_limited(error) or _unanswered(error)


def _words(error: Exception) -> str:
    """Return what the service or the network said, shortened, without secrets."""
    code = getattr(error, "faultCode", type(error).__name__)
    return mask(f"{code}: {getattr(error, 'faultString', None) or error}")[:500]
