"""Changes and plans in words: the one place where an action becomes a sentence."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence

from swarmbook.base.errors import PlanMismatch
from swarmbook.base.words import many
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Table
from swarmbook.model.health import EngineBefore
from swarmbook.model.plan import Mismatch, Plan

__all__ = ["cost_table", "grouped", "layers_in_words", "plan_table", "plan_text", "refuse", "sentence", "summary"]

#: What a disk's layers are called.
_LAYERS: Mapping[str, str] = {
    "gpt:swarmbook-docker": "GPT",
    "LVM2_member": "physical volume",
    "vg:docker": "volume group docker",
    "lv:data": "volume data",
    "lv:thinpool": "thin pool thinpool",
    "btrfs:docker": "btrfs",
    "xfs:docker": "xfs",
}


def layers_in_words(layers: Iterable[str], unfinished: bool = False) -> str:
    """Describe what is on a disk, or comes onto it, for a person.

    Args:
        layers: From below.
        unfinished: Whether the last one is not whole.
    """
    return ", ".join(_LAYERS.get(layer, layer) for layer in layers) + (" (unfinished)" if unfinished else "")


def _laid_out(change: Change) -> str:
    device, *rest = change.things
    if not rest:
        return f"{device} laid out as its kernel allows: lvm-btrfs, lvm-xfs or btrfs"
    layout, *layers = rest
    finished = change.because == "finished"
    several = f": {layers_in_words(layers)}" if finished or len(layers) > 1 else ""
    return f"{layout} {'finished' if finished else 'made'} on {device}{several}"


def _files(change: Change) -> str:
    names = " ".join(posixpath.basename(path) for path in change.things)
    return f"{names} put in {posixpath.dirname(change.things[0])}"


def _set_back(change: Change) -> str:
    before, *emptied = change.things
    state = "stopped, with what it held" if before == EngineBefore.HELD else before
    return f"the engine set back to {state}" + (f"; {', '.join(emptied)} emptied" if emptied else "")


def _with(words: str) -> Callable[[Change], str]:
    """Make a change's sentence of words in which ``{}`` stands for the things and ``{0}`` for the first of them."""

    def made(change: Change) -> str:
        return words.replace("{}", " ".join(change.things)).replace("{0}", next(iter(change.things), ""))

    return made


def _why(words: str) -> Callable[[Change], str]:
    return lambda change: _with(words)(change) + (f" ({change.because})" if change.because else "")


def _listens(change: Change) -> str:
    *where, port = change.things  # the port alone in records of earlier versions
    return f"API on its {where[0]}, port {port}" if where else f"API on port {port}"


def _walled(change: Change) -> str:
    ports: dict[str, list[str]] = {}
    for thing in change.things:
        port, _, whom = thing.partition(" for ")
        ports.setdefault(whom, []).append(port)
    words = "; ".join(f"{' '.join(found)} for {whom} alone" for whom, found in ports.items())
    return f"wall: {words}" + (f" ({change.because})" if change.because else "")


def _priced(words: str) -> Callable[[Change], str]:
    return lambda change: ", ".join([words, *change.things])


def _recovered(change: Change) -> str:
    position, how, *lost = change.things
    goes_on = "its server is made the primary component" if how == "living" else "goes on"
    which = "what others have beyond it" if not lost or lost == ["UNKNOWN"] else many(int(lost[0]), "transaction")
    return (
        f"{goes_on} with {position}"
        + (f"; lost: {which}" if lost else "")
        + (f" ({change.because})" if change.because else "")
    )


def _rejoined(change: Change) -> str:
    if change.things[0] == "all":
        return "joins with a whole copy (SST)"
    if change.things[0] == "0":
        return "joins; it lacks nothing"
    return (
        f"joins; it lacks {many(int(change.things[0]), 'transaction')} (IST while the donor's cache has them, else SST)"
    )


def _replaced(change: Change) -> str:
    folder, aside, *databases = change.things
    held = f", with the databases {', '.join(databases)}," if databases else ""
    return f"its member stopped, and what is in {folder}/data{held} replaced; it stays as {folder}/{aside}"


def _taken_over(change: Change) -> str:
    source, how = change.things
    first = "behind all that was committed there" if how == "switch" else "without what has not arrived"
    return f"takes the writes in the place of {source}, {first}"


_SENTENCES: Mapping[Action, Callable[[Change], str]] = {
    Action.TAKE_KEY: _with("SSH key taken from {}"),
    Action.GENERATE_KEY: _with("SSH key generated"),
    Action.START_ENGINE_HERE: _with("Docker Engine started"),
    Action.CREATE: _priced("machine created"),
    Action.ADOPT: _why("your host taken in; its host key pinned at first contact"),
    Action.ORDER: lambda change: ", ".join([f"{change.things[0]} ordered", *change.things[1:]]),
    Action.AWAIT_MACHINE: _why("machine waited for"),
    Action.START_MACHINE: _why("machine started"),
    Action.PUT_KEY: _with("the cluster's SSH key put in"),
    Action.TAG: lambda change: f"tagged {', '.join(change.things)}",
    Action.INVENTORY: _with("written to the inventory"),
    Action.PIN: _with("host key pinned"),
    Action.REMOVE: _with("{} removed"),
    Action.UPDATE: _why("packages brought up to date"),
    Action.INSTALL: _with("installed {}"),
    Action.WIPE_DISK: lambda change: f"{change.things[0]} wiped ({layers_in_words(change.things[1:])})",
    Action.LAY_OUT: _laid_out,
    Action.MOUNT: lambda change: f"mounted at {change.things[1]}",
    Action.REMOUNT: lambda change: f"mounted with {change.things[1]}",
    Action.FSTAB: lambda change: f"entered in fstab with {change.things[1]}",
    Action.GUARD: _with("engine held back until the disk is mounted"),
    Action.REMOVE_PACKAGES: lambda change: _why(
        f"{'package' if len(change.things) == 1 else 'packages'} {{}}"
        if change.things
        else "no package, and the note of what was installed"
    )(change),
    Action.WALL: _walled,
    Action.REMOVE_WALL: lambda change: f"the wall: table {change.things[0]} of nftables, {' '.join(change.things[1:])}",
    Action.ISSUE: _why("certificate {} issued"),
    Action.INSTALL_ENGINE: lambda change: (
        "engine installed" + (" from Docker's repository" if change.things == ("docker",) else "")
    ),
    Action.REPLACE_AUTHORITY: _with("{} CA replaced, with an overlap"),
    Action.CERTIFICATE: _why("certificate put in place"),
    Action.SETTINGS: _with("daemon.json merged"),
    Action.LISTEN: _listens,
    Action.ENABLE: _with("starts at boot"),
    Action.START: _with("engine started"),
    Action.RESTART: _with("engine restarted"),
    Action.INIT_SWARM: _with("swarm initialised"),
    Action.JOIN_SWARM: _with("joined as {}"),
    Action.AUTOLOCK: lambda change: (
        "autolock on, and its key kept" if change.things == ("on",) else "autolock switched off"
    ),
    Action.HEARTBEAT: _with("every node reports each {} s, and counts as down after three times that"),
    Action.UNLOCK: _with("manager unlocked"),
    Action.PROMOTE: _with("promoted to manager"),
    Action.LABEL: _with("node label {}"),
    Action.AWAIT_NODE: _why("waited for until the swarm finds it ready"),
    Action.LEAVE_OUT: _with("given no more tasks by the swarm until a run takes it back"),
    Action.TAKE_BACK: _with("given tasks by the swarm again"),
    Action.FORGET: _with("entry of its earlier machine removed"),
    Action.IMAGES: _with("{} sent"),
    Action.SECRET: _with("swarm secret {}"),
    Action.REMOVE_SECRETS: lambda change: f"swarm secrets that were replaced removed: {', '.join(change.things)}",
    Action.PUT_FILES: _files,
    Action.RESTART_AGENT: _with("agent restarted"),
    Action.AWAIT_AGENT: _with("agent waited for until it runs"),
    Action.DEPLOY: _why("service {} deployed"),
    Action.TOKEN: _with("token and policy {}"),
    Action.REMOVE_TOKEN: _with("token {} of before removed"),
    Action.GOSSIP_KEY: _with("gossip key replaced on the living ring"),
    Action.ELECT: _with("election among the members, the first writer {}; the others fenced"),
    Action.AWAIT_ENDPOINT: _with("service {} waited for until it is healthy"),
    Action.AWAIT_WATCH: _with("Prometheus and the exporters waited for"),
    Action.ROTATE: _with("{} replaced"),
    Action.END_OVERLAP: _with("{} of before lets no one in any more"),
    Action.CREATE_NETWORK: lambda change: (
        "overlay {}, {}, MTU {}".format(*change.things) + ", encrypted" * (len(change.things) > 3)
    ),
    Action.CONFIG: _with("swarm config {}"),
    Action.MAKE_FOLDER: _with("data folder made"),
    Action.WITHDRAW_MARK: _with("left-over bootstrap mark withdrawn"),
    Action.SET_ASIDE: _with("half-made bootstrap set aside"),
    Action.BOOTSTRAP: _with("cluster bootstrapped"),
    Action.AWAIT_FIRST: _why("first member waited for"),
    Action.ALONE: lambda change: "may go on by itself" if change.things[-1] == "yes" else "no longer goes on by itself",
    Action.REUNITE: _with("members that hold data given {} s to find each other"),
    Action.JOIN_CLUSTER: _with("joined by state transfer"),
    Action.AWAIT_MEMBER: _with("waited for until Synced"),
    Action.UPDATE_MEMBER: _with("member restarted with its new settings"),
    Action.LOGIN: lambda change: "login {}, let in by {}".format(*change.things),
    Action.REMOVE_LOGIN: _with("login {}, over the network, removed"),
    Action.DEMOTE: _with("demoted to worker"),
    Action.REMOVE_MEMBER: _with("member leaves: service {} removed"),
    Action.LEAVE_CONSUL: _with("Consul's {} leaves"),
    Action.RECOVER: _recovered,
    Action.REJOIN: _rejoined,
    Action.MAKE_REPOSITORY: _with("repository made: {}"),
    Action.BACKUP: _with("backup of its member into {}"),
    Action.FORGET_BACKUPS: _with("backups forgotten but for {0}"),
    Action.REMOVE_BROKEN: _with("snapshots that are not complete removed: {}"),
    Action.FETCH: lambda change: "snapshot {} of {}, at {}, fetched and prepared".format(*change.things),
    Action.REPLAY: _with("binary logs replayed on it up to {0}"),
    Action.REPLACE_DATA: _replaced,
    Action.PUT_IN_PLACE: _with("the data of snapshot {} put in place"),
    Action.FOUND_RESTORED: _with("cluster founded from the data of snapshot {}"),
    Action.SOURCE_LOGIN: lambda change: "login {1} on {0}, let in by {2}".format(*change.things),
    Action.FOLLOW: lambda change: "all members fenced, and {} followed at {}".format(*change.things),
    Action.FENCE_SOURCE: _with("{} fenced: it takes no more writes"),
    Action.TAKE_OVER: _taken_over,
    Action.RESTART_MEMBER: _with("member restarted"),
    Action.RENEW_SYSTEM: _with("drained, its packages brought up to date, rebooted, and taken back"),
    Action.UNLIST: _with("struck off the inventory"),
    Action.REMOVE_SERVICES: _with("services {}"),
    Action.LEAVE_SWARM: _with("its place in the swarm"),
    Action.REMOVE_CONTAINERS: _with("containers of {}"),
    Action.REMOVE_VOLUMES: _with("volumes with their data: {}"),
    Action.REMOVE_DATA: _with("database folder {}"),
    Action.REMOVE_IMAGES: _with("images {}"),
    Action.SET_BACK_ENGINE: _set_back,
    Action.REMOVE_FILES: _with("files {}"),
    Action.UNDO_LAYOUT: lambda change: (
        f"the layout of {change.things[0]} with all that is on it: {layers_in_words(change.things[1:])}, "
        "its mount and its line in fstab"
    ),
}


def sentence(change: Change) -> str:
    """Describe what a change does, for a person."""
    return _SENTENCES[change.action](change)


def grouped(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Group the hosts by what is done there: the same change on several hosts is one line."""
    hosts: dict[str, list[str]] = {}
    for change in changes:
        hosts.setdefault(sentence(change), []).append(change.host)
    return hosts


def plan_table(plan: Plan) -> Table:
    """Render a plan as a table, a row for each change; the same change on several hosts is one row."""
    rows: list[list[str]] = []
    for step in plan.steps:
        if step.unknown:
            rows.append([step.phase, step.step, "", f"not known yet: {step.unknown}", ""])
        groups: dict[tuple[str, str, str], list[str]] = {}
        for change in step.changes:
            word = f"asks for {change.word.value}" if change.word else ""
            basis = "assumed" if change.host in step.loose else ""
            groups.setdefault((sentence(change), basis, word), []).append(change.host)
        for (what, *notes), hosts in groups.items():
            rows.append([step.phase, step.step, ", ".join(hosts), what, ", ".join(filter(None, notes))])
        if not step.changes and not step.unknown:
            rows.append([step.phase, step.step, "", "nothing to change", ""])
    return Table(["phase", "step", "host", "what", "note"], rows)


def cost_table(plan: Plan) -> Table:
    """Render what the machines cost as a table, by the hour or by the month."""
    monthly = any(c.monthly for c in plan.costs)
    paid = [(c, c.monthly if monthly else c.hourly) for c in plan.costs]
    digits = 2 if monthly else 3
    rows = [[c.name, c.what, "new" if c.new else "there", f"{cost:.{digits}f}"] for c, cost in paid]
    fresh = [cost for c, cost in paid if c.new]
    totals = [
        ["new", many(len(fresh), "machine"), "", f"{sum(fresh):.{digits}f}"],
        ["all", many(len(paid), "machine"), "", f"{sum(cost for _, cost in paid):.{digits}f}"],
    ]
    return Table(["node", "machine", "is", "per month" if monthly else "per hour"], [*rows, *totals])


def summary(plan: Plan) -> str:
    """Sum up a plan in one line."""
    count = len(plan.changes)
    hosts = {change.host for _, change in plan.changes} - {"cluster", "here"}
    unknown = sum(bool(step.unknown) for step in plan.steps)
    where = f" on {many(len(hosts), 'host')}" if hosts else ""  # what is of the cluster alone is on no host
    words = f"{many(count, 'change')}{where}" if count else "nothing to change"
    return words + (f", {many(unknown, 'step')} not known yet" if unknown else "")


def plan_text(plan: Plan) -> str:
    """Render a plan for a terminal."""
    parts = [plan_table(plan).to_text()]
    if any(step.assumed for step in plan.steps):
        parts.append(
            "assumed: an earlier step makes these nodes, or makes them ready, and they are taken to come up empty; "
            "a run of this plan does no more than this on them"
        )
    if plan.costs:
        parts.append(cost_table(plan).to_text())
    parts.append(f"{plan.cluster}: {summary(plan)}\ndigest {plan.digest}")
    return "\n\n".join(parts)


def refuse(plan: Plan, phase: str, step: str, mismatch: Mismatch) -> None:
    """Raise when what a step would do is not what its plan says.

    Raises:
        PlanMismatch: The world is no longer as it was when the plan was made. Nothing of the step was done.
    """
    if not mismatch:
        return
    planned = plan.step(phase, step)
    lines: Sequence[str] = [
        *(f"not planned: {c.host}: {sentence(c)}" for c in mismatch.extra),
        *(f"planned, and no longer needed: {c.host}: {sentence(c)}" for c in mismatch.missing),
    ]
    unknown = planned.unknown if planned else ""
    raise PlanMismatch(
        "the world is not as it was when the plan was made; this step was not begun",
        where=f"{phase}, {step}",
        wanted=f"just what the plan {plan.digest[:23]} says" + (f" (nothing: {unknown})" if unknown else ""),
        seen="\n".join(lines[:20]),
        next="swarmbook plan PARAMS --out FILE; read it, then: swarmbook run --plan FILE",
    )
