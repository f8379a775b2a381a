"""HAProxy's settings: a text, made of the parameters alone."""

from __future__ import annotations

from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import AGENT_PORT
from swarmbook.phases.support.members import member_name

__all__ = ["haproxy_cfg"]

#: Milliseconds from one question to a member's agent to the next. Two answers that it is not right, or none, take it out.
_INTER = {"writer": 100, "reader": 250}

# Sources: https://docs.haproxy.org/3.0/configuration.html, by the keywords' names.
_CFG = """# The {role} of {cluster}: connections are passed on as they are, TLS included.
global
    log stdout format raw local0 notice
    maxconn 4000
    lua-load /usr/local/share/swarmbook/cut.lua
    lua-load /usr/local/share/swarmbook/hold.lua
    hard-stop-after 5s

defaults
    mode tcp
    log global
    option dontlog-normal
    # A pooled connection may be idle for as long as the server allows, eight hours; a peer that is gone is found by keepalives.
    timeout client 9h
    timeout server 9h
    option clitcpka
    option srvtcpka
    timeout connect 500ms
    timeout check 700ms
    retries 3
    option redispatch 1

# A member's address is another one after each start. The engine's own name server knows it.
resolvers engine
    nameserver engine 127.0.0.11:53
    resolve_retries 2
    timeout resolve 500ms
    timeout retry 300ms
    hold valid 500ms
    # While a name is not known, its last address is kept, and found dead: a server whose name is known again counts as up, before
    # anything was asked. Another address is taken at once.
    hold nx 20d
    hold obsolete 0s
    hold refused 20d
    hold timeout 20d
    hold other 20d

frontend health
    bind 127.0.0.1:8404
    mode http
    timeout client 2s
    monitor-uri /

frontend {role}
    bind :3306
    tcp-request inspect-delay 15s
    tcp-request content lua.hold members {wanted}
    default_backend members

backend members
    balance {balance}
    option httpchk GET /{role}
    http-check disable-on-404
    default-server check port {port} inter {inter}ms fastinter 50ms downinter {inter}ms fall 2 rise 1 resolvers engine init-addr none resolve-prefer ipv4
{servers}"""


def haproxy_cfg(params: Params, role: str) -> str:
    """Return the settings of the service that leads to a role.

    Args:
        params: The parameters.
        role: ``writer`` or ``reader``.
    """
    names = [member_name(params, node) for node in params.members()]
    return _CFG.format(
        role=role,
        cluster=params.mariadb_cluster_name,
        balance="leastconn" if role == "reader" else "first",
        port=AGENT_PORT,
        inter=_INTER[role],
        wanted="any" if role == "reader" else "one",
        servers="".join(f"    server {name} {name}:3306\n" for name in names),
    )
