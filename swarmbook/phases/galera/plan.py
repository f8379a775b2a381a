"""What has to be changed so that every member serves; pure."""

from __future__ import annotations

from collections.abc import Mapping

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.words import subject
from swarmbook.model.change import Action, Change
from swarmbook.params import Params
from swarmbook.phases.galera.members import Galera, Member, nobody_serves
from swarmbook.phases.galera.stack import Parts
from swarmbook.phases.support import stack
from swarmbook.phases.support.authorities import replacements
from swarmbook.phases.support.member_data import data_folder

__all__ = ["REUNION_S", "plan_galera", "retired_secrets", "token_name"]

#: How long members that hold data, and of which some run, may take to find each other again, seconds: after a node came
#: back, say.
REUNION_S = 60


def token_name(cluster: str) -> str:
    """Return the name of the token by which members announce themselves to Consul.

    Args:
        cluster: The parameter ``mariadb_cluster_name``.
    """
    return f"service-{cluster}"


def retired_secrets(cluster: str) -> list[str]:
    """List the names of secrets that members of earlier versions were given: passwords, which stay with the operator now.

    Args:
        cluster: The parameter ``mariadb_cluster_name``.
    """
    return [f"{cluster}-root-password", f"{cluster}-password"]


def plan_galera(made: Parts, seen: Galera) -> list[Change]:
    """Plan the changes that bring the cluster to what is wanted.

    Args:
        made: What the swarm has to be given.
        seen: The cluster as it is.

    Raises:
        WorldError: No member is in service and some hold data: which of them may go on must not be guessed. Or a port is
            taken.
    """
    params, members = made.params, seen.members
    if seen.strays:
        raise WorldError(
            f"{subject(seen.strays, 'carries a member and is', 'carry members and are')} no longer among the parameters' "
            "galera_nodes",
            where=", ".join(seen.strays),
            wanted=f"members on {', '.join(members)}",
            next=f"swarmbook scale PARAMS, which lets the member leave; or put {', '.join(seen.strays)} back into galera_nodes",
            code=Code.NODE_TAKEN_OUT,
        )
    for name, member in members.items():
        if member.port_taken:
            raise WorldError(
                f"port {params.mariadb_port} is in use on {name}",
                where=name,
                wanted="a free port for the member",
                seen=member.port_taken,
                next="choose another mariadb_port, or end what listens there",
                code=Code.MEMBER_PORT_TAKEN,
            )
    _refuse_the_way_back(params, members)
    changes = [
        Change(name, Action.IMAGES, ("MariaDB's image",)) for name, member in members.items() if not member.image
    ]
    changes += [
        Change("cluster", Action.SECRET, (stack.secret_base(name),))
        for name in made.secrets
        if name not in seen.secrets
    ]
    if made.settings[0] not in seen.configs:
        changes.append(Change("cluster", Action.CONFIG, (made.settings[0],)))
    if not seen.token:
        changes.append(Change("cluster", Action.TOKEN, (token_name(params.mariadb_cluster_name),)))
    folder = (data_folder(params),)
    changes += [Change(name, Action.MAKE_FOLDER, folder) for name, member in members.items() if not member.folder]
    # Left over of a founding that failed; no member would take it for one of now.
    some_serve = any(member.synced for member in members.values())
    changes += [
        Change(name, Action.WITHDRAW_MARK, folder)
        for name, member in members.items()
        if member.mark or (member.restored and some_serve)
    ]
    # The only member goes on after every stop; with others, one that did so might found a second cluster.
    alone = len(members) == 1 and not seen.left_out
    changes += [
        Change(name, Action.ALONE, (*folder, "yes" if alone else "no"))
        for name, member in members.items()
        if member.alone != alone
    ]
    first = seen.founder
    serving = any(member.synced for member in members.values())
    if not serving:
        founding = _plan_first(first, members, folder)
        # Who holds data is then waited for, the first member too.
        serving = any(change.action is Action.REUNITE for change in founding)
        changes += founding
    wanted = {name: service["deploy"]["labels"][stack.SPEC_LABEL] for name, service in made.services.items()}
    # Whom applications write to, last: it hands over once, and to a member that has changed.
    for name, member in sorted(members.items(), key=lambda item: item[1].wsrep is not None and item[1].wsrep.writer):
        if not member.spec:
            if name != first or serving:
                changes.append(Change(name, Action.JOIN_CLUSTER))
        elif not member.synced and name != first:
            changes.append(Change(name, Action.AWAIT_MEMBER))
        elif member.spec != wanted[name]:
            changes.append(Change(name, Action.UPDATE_MEMBER))
        elif not member.synced and serving:
            changes.append(Change(name, Action.AWAIT_MEMBER))
    old = stack.replaced_secrets(seen.secrets, made.secrets, retired_secrets(params.mariadb_cluster_name))
    if old and not seen.left_out:  # whose service uses them still
        changes.append(Change("cluster", Action.REMOVE_SECRETS, old))
    return changes + replacements(made.replacing)


def _refuse_the_way_back(params: Params, members: Mapping[str, Member]) -> None:
    """Refuse an earlier series of MariaDB than members have: it could not read their data."""
    later = {
        name: member.wsrep.series
        for name, member in members.items()
        if member.wsrep and _number(member.wsrep.series) > _number(params.mariadb_version)
    }
    if later:
        raise UsageError(
            f"MariaDB {params.mariadb_version} cannot go on with the data of a later one; no member was changed",
            where=", ".join(later),
            wanted=f"mariadb_version: '{max(later.values(), key=_number)}'",
            seen=f"mariadb_version: '{params.mariadb_version}'",
            next="set mariadb_version as it was; into a cluster of the earlier series, only a dump leads: mariadb-dump",
            code=Code.NO_DOWNGRADE,
        )


def _number(series: str) -> tuple[int, ...]:
    return tuple(int(part) for part in series.split(".") if part.isdecimal())


def _plan_first(first: str, members: Mapping[str, Member], folder: tuple[str, ...]) -> list[Change]:
    """Plan how the cluster is founded, when no member is in service."""
    if not first:  # the founder is left out, and its data with it
        raise nobody_serves(members)
    restored = [name for name, member in members.items() if member.restored and member.data]
    if restored:
        if len(restored) > 1 or any(member.data for name, member in members.items() if name not in restored):
            raise nobody_serves(members)
        return [Change(restored[0], Action.FOUND_RESTORED, (members[restored[0]].restored[:8],))]
    founder = members[first]
    others = {
        name: member for name, member in members.items() if name != first and (member.data or member.bootstrapped)
    }
    half_made = founder.used and not founder.bootstrapped
    if half_made and founder.running and not others:
        return [Change(first, Action.AWAIT_FIRST, because="it bootstraps")]
    if half_made and not others:
        # Accounts are locked until it is complete, so no user data can be in it; it is kept all the same.
        return [Change(first, Action.SET_ASIDE, folder), Change(first, Action.BOOTSTRAP)]
    if founder.bootstrapped and founder.running and not others:
        return [Change(first, Action.AWAIT_FIRST)]
    if founder.data or founder.bootstrapped or others:
        holders = [member for member in members.values() if member.data or member.bootstrapped]
        some_run = any(member.running for member in holders)
        # After clean stops of all no one kept a view, and no one comes of itself.
        some_crashed = any(member.position is None or member.position.seqno < 0 for member in holders)
        if len(holders) > 1 and some_run and some_crashed and all(member.spec for member in holders):
            # A node that was away, or all of them: what kept its view of the cluster goes on by itself once it sees the
            # others.
            return [Change("cluster", Action.REUNITE, (str(REUNION_S),))]
        raise nobody_serves(members)
    return [Change(first, Action.BOOTSTRAP)]
