"""How Consul's access control begins: over the API, so that no server's settings hold the management token."""

from __future__ import annotations

import re

from swarmbook.access.commands import sh
from swarmbook.base import secrets
from swarmbook.base.secrets import Secret
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.consul.config import STACK
from swarmbook.phases.support.consul_api import ConsulApi, ConsulBusy, api

__all__ = ["begin", "let_in"]

#: Consul's own policy, which may do everything.
_EVERYTHING = "00000000-0000-0000-0000-000000000001"
#: How Consul describes the first token.
_FIRST = "Bootstrap Token"
#: How we describe ours.
_OURS = "swarmbook management"
#: Consul hands the first token out once. If that answer was lost, this index lets it do so again.
#: https://developer.hashicorp.com/consul/docs/security/acl/acl-rules#reset-the-acl-system
_AGAIN = re.compile(r"reset index: (\d{1,19})\b")


def begin(book: Book, server: str) -> None:
    """Give Consul the cluster's management token, unless it has it.

    Args:
        book: The open book.
        server: A node with a server.

    Raises:
        WaitTimeout: No leader was elected, or it does not take the token.
    """
    consul = api(book, server)
    token = book.cluster.secret("consul-management-token", book.params.consul_management_token, secrets.token)

    def begun() -> tuple[bool, str]:
        try:
            return attempt()
        except ConsulBusy as busy:
            return False, busy.seen or busy.what

    def attempt() -> tuple[bool, str]:
        leader = consul.leader()
        if not leader:
            return False, "no leader"
        if let_in(consul):
            _forget_others(consul)
            return True, ""
        answer = consul.begin_acl()
        if not answer.ok:
            # For a moment after the election a new cluster answers "the ACL system is currently in legacy mode".
            if again := _AGAIN.search(answer.text):
                _let_begin_again(book, leader, again[1])
            return False, f"{answer.status_code} {answer.text.strip()[:200]}"
        first = answer.json()
        secrets.register(first["SecretID"])
        ours = {"SecretID": token.reveal(), "Description": _OURS, "Policies": [{"ID": _EVERYTHING}]}
        consul.holding(Secret("consul-first-token", first["SecretID"])).put("acl/token", ours)
        _forget_others(consul)
        return True, ""

    wait_for(
        "Consul's access control begins",
        begun,
        timeout_s=book.params.wait_timeout,
        where=server,
        next=f"swarmbook ssh {server} docker service logs --tail 30 {STACK}_server",
    )


def let_in(consul: ConsulApi) -> bool:
    """Tell whether Consul knows the token that it is asked with.

    Raises:
        ConsulBusy: It cannot say just now.
    """
    return consul.allowed("acl/token/self") is not None


def _forget_others(consul: ConsulApi) -> None:
    """Delete the tokens that may do everything, but for ours: those that Consul handed out first, and those that ours has replaced."""
    own = consul.get("acl/token/self")["AccessorID"]
    for entry in consul.get("acl/tokens"):
        ours = entry["Description"] == _OURS and entry["AccessorID"] != own
        if ours or entry["Description"].startswith(_FIRST):
            consul.delete(f"acl/token/{entry['AccessorID']}")


def _let_begin_again(book: Book, leader: str, index: str) -> None:
    address = leader.rpartition(":")[0]
    host = next(book.fleet[node.name] for node in book.nodes if node.private_address == address)
    host.run(
        sh(
            "docker exec $(docker ps -q --filter @{server}) sh -c @{write}",
            server=f"label=com.docker.swarm.service.name={STACK}_server",
            write=sh("echo @{index} > /consul/data/acl-bootstrap-reset", index=index),
        )
    )
