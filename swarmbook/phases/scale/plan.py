"""Who leaves what, in which order; pure."""

from __future__ import annotations

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.words import subject
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.checks import Check, equal
from swarmbook.model.health import Role
from swarmbook.params import Params
from swarmbook.phases.scale.extent import Extent
from swarmbook.phases.support.members import service_name

__all__ = ["checks", "demoted", "plan_scale", "strays"]


def strays(params: Params, seen: Extent) -> list[str]:
    """List the nodes with a member that should have none any more.

    Args:
        params: The parameters.
        seen: What there is.
    """
    wanted = {*params.members(), *params.without}
    return [name for name in seen.members if name not in wanted]


def demoted(params: Params, seen: Extent) -> list[str]:
    """List the managers that should be none any more.

    Args:
        params: The parameters.
        seen: What there is.
    """
    wanted = {*params.managers(), *params.without}
    return [name for name, node in seen.swarm.items() if node.role is Role.MANAGER and name not in wanted]


def plan_scale(params: Params, seen: Extent) -> list[Change]:
    """Plan how nodes leave: the member first, then Consul's agent, the manager, the node, last its machine.

    Args:
        params: The parameters.
        seen: What there is.

    Raises:
        WorldError: No Synced member would be left, or no manager; or a member that stays is not Synced, or a node that leaves
            carries another database.
    """
    _refuse(params, seen)
    changes = []
    for name in params.managers():
        # Before another one goes: the swarm never has fewer managers than it is to have.
        if demoted(params, seen) and (node := seen.swarm.get(name)) and node.role is Role.WORKER:
            changes.append(Change(name, Action.PROMOTE))
    changes += [Change(name, Action.REMOVE_MEMBER, (service_name(params, name),)) for name in strays(params, seen)]
    down = demoted(params, seen)
    for name in dict.fromkeys([*down, *seen.leaving]):
        part = seen.swarm[name].labels.get("consul", "") if name in seen.swarm else ""
        if part or name in seen.peers:
            changes.append(Change(name, Action.LEAVE_CONSUL, (part or "server",)))
    changes += [Change(name, Action.DEMOTE) for name in down]
    for name in seen.leaving:
        if (node := seen.swarm.get(name)) is not None:
            if name not in seen.gone:
                changes.append(Change(name, Action.LEAVE_SWARM))
            changes.append(Change(name, Action.FORGET, (node.id, Role.WORKER.value)))
    if seen.secrets:
        changes.append(Change("cluster", Action.REMOVE_SECRETS, seen.secrets))
    changes += [Change(name, Action.REMOVE, (thing,), Word.CANCEL) for name, thing in seen.parts]
    changes += [Change(name, Action.UNLIST) for name in seen.leaving]
    return changes


def _refuse(params: Params, seen: Extent) -> None:
    for name, stacks in seen.strangers.items():
        raise WorldError(
            f"{name} also carries a member of {', '.join(stacks)}",
            where=name,
            wanted="no member of another database on a node that leaves",
            seen=", ".join(f"{stack}_{name}" for stack in stacks),
            next=f"take {name} out of galera_nodes in that database's parameters, and: swarmbook scale THOSE_PARAMS",
        )
    stay = {name: seen.members[name] for name in params.members() if name in seen.members}
    late = [name for name, member in stay.items() if member is None or not member.synced]
    if strays(params, seen) and (late or not stay):
        raise WorldError(
            "no member leaves while not all that stay are Synced" if stay else "no member would be left",
            where=", ".join(strays(params, seen)),
            wanted="every member that stays Synced, Primary" if stay else "a Synced member among those that stay",
            seen="; ".join(
                f"{name}: {member.state if member else 'its machine is gone'}" for name, member in stay.items()
            )
            or "none",
            next="swarmbook status PARAMS; once they are Synced: swarmbook scale PARAMS",
            code=Code.MEMBERS_NOT_SYNCED,
        )
    there = [name for name in params.managers() if (node := seen.swarm.get(name)) is not None and node.state == "ready"]
    if demoted(params, seen) and not there:
        raise WorldError(
            subject(demoted(params, seen), "is the last manager", "are the last managers"),
            where="swarm",
            wanted=f"one of {', '.join(params.managers())} in the swarm before",
            next=f"put {', '.join(demoted(params, seen))} back into `nodes` and run; then take them out",
        )


def checks(params: Params, seen: Extent) -> list[Check]:
    """Check that the cluster reaches no further than the parameters say.

    Args:
        params: The parameters.
        seen: What there is.
    """
    allowed = {*params.nodes, *params.without}
    extra = [name for name in seen.swarm if name not in allowed]
    servers = {*params.managers(), *params.without}
    return [
        equal("cluster", "machines that are not named", "none", ", ".join(seen.leaving) or "none"),
        equal("cluster", "nodes of the swarm that are not named", "none", ", ".join(extra) or "none"),
        equal("cluster", "managers that should be workers", "none", ", ".join(demoted(params, seen)) or "none"),
        equal("cluster", "members that are not named", "none", ", ".join(strays(params, seen)) or "none"),
        equal(
            "cluster",
            "Consul servers that are not managers'",
            "none",
            ", ".join(sorted(seen.peers - servers)) or "none",
        ),
    ]
