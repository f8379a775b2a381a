"""The packages that the book adds to a node: noted there while they are added, and looked at again when they are to go.

What was there before is its owner's. The node itself makes the note, in the script that installs: of what is there afterwards
and was not there before. What a killed run has left of it is completed later; then only what the package manager had said it
would install counts, since the owner may have installed other things meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.probe import Facts, Probe, device, line, word

__all__ = ["NOTE", "Added", "added_on", "held_back", "noted", "noted_file", "removal", "what_stays"]

#: On the node. Beside /etc/swarmbook, which goes when the engine is set back: packages go last.
NOTE = "/etc/swarmbook-packages"

#: Functions by family. `listed` prints state and name of every package, `would` what an installation would bring, `claimed` which
#: of some packages someone has asked for, and not only what needs them.
_LISTED = {
    "debian": sh("""plain() { sed "s/:$(dpkg --print-architecture)\\$//"; }
listed() { dpkg-query -W -f '${db:Status-Status} ${binary:Package}\\n' | plain; }
would() { LC_ALL=C apt-get -s -o Debug::NoLocking=1 install --no-install-recommends -- "$@" 2>/dev/null | sed -n 's/^Inst \\([^ ]*\\) .*/\\1/p' | plain; }
claimed() { xargs -r apt-mark showmanual -- | plain; }"""),
    "rhel": sh("""listed() { rpm -qa --qf 'installed %{NAME}\\n'; }
would() { printf '%s\\n' "$@"; }
claimed() { cat > /dev/null; }"""),
}
#: `found FILE` prints what is there and was not before, and how it goes again: a package whose settings the owner had kept is
#: removed and not purged. Where FILE is named, only packages that it names count.
_SETTLE = sh("""found() { [ ! -e before ] || listed | awk -v only="$1" '
  FILENAME == "before" { was[$2] = $1; next }
  FILENAME == "meant" { may[$1]; next }
  $1 != "config-files" && $1 != "not-installed" && (!($2 in was) || was[$2] == "config-files") && (only == "" || $2 in may) {
    print (was[$2] == "config-files" ? "remove" : "purge"), $2 }' before meant -; }
settle() { [ ! -e before ] || { { cat added 2>/dev/null; found "$1"; } | LC_ALL=C sort -u > added.new && mv -f added.new added && rm -f before meant; }; }""")


def noted(
    family: str, packages: Iterable[str], install: Script, further: Script | None = None, *, folder: str = NOTE
) -> Script:
    """Return an installation that notes what it adds.

    Args:
        family: debian or rhel.
        packages: What is asked for.
        install: Installs ``"$@"``.
        further: Prints the names of more packages.
        folder: Where it is noted.
    """
    return sh(
        """@!{listed}
@!{settle}
set -- @{packages} @!{further}
mkdir -p -m 700 @{folder} && cd @{folder} || exit 1
touch meant && settle meant || exit 1
printf '%s\\n' "$@" >> asked && listed > before.new && would "$@" > meant && mv -f before.new before || exit 1
(cd / && @!{install}); code=$?
settle '' && exit $code""",
        listed=_LISTED[family],
        settle=_SETTLE,
        packages=packages,
        further=further or sh(""),
        folder=folder,
        install=install,
    )


def noted_file(path: str) -> Script:
    """Return what notes a file for the package manager, before it is written, if it is not there."""
    return sh(
        "[ -e @{path} ] || { mkdir -p -m 700 @{folder} && echo @{entry} >> @{folder}/added; }",
        path=path,
        entry=f"file {path}",
        folder=NOTE,
    )


# -- looked at -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Added:
    """What the book has added to a node, as far as it is still there.

    Args:
        family: debian or rhel; empty where nothing is noted.
        packages: How each goes: purge, or remove, which leaves its settings.
        files: Files for the package manager.
        changed: A file among a package's settings that was changed since, by package.
        claimed: Packages that someone else has asked for since.
        uses: What lies on the disks, by file system or kind of volume.
        undone: The disk whose layout goes, by the name that the kernel has for it.
    """

    family: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    claimed: tuple[str, ...] = ()
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    undone: str = ""


_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*(:[a-z0-9-]+)?")
_PATH = re.compile(r"/[A-Za-z0-9/_.-]+")
_HOW = ("purge", "remove", "file")


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise ValueError(f"no package: {text[:80]!r}")
    return text


def _read(facts: Facts) -> Added:
    family = word("".join(facts.get("family", ())))
    entries = [each.partition(" ")[::2] for each in facts.get("added", ()) if each]
    if wrong := [how for how, _ in entries if how not in _HOW]:
        raise ValueError(f"no way to go: {wrong[0][:80]!r}")
    files = [thing for how, thing in entries if how == "file"]
    if wrong := [path for path in files if not _PATH.fullmatch(path) or ".." in path]:
        raise ValueError(f"no path: {wrong[0][:80]!r}")
    uses: dict[str, tuple[str, ...]] = {}
    for each in filter(None, facts.get("uses", ())):
        disk, _, kind = each.partition(" ")
        uses[word(kind)] = (*uses.get(word(kind), ()), device(disk))
    changed = (each.partition(" ")[::2] for each in facts.get("changed", ()) if each)
    return Added(
        family,
        {_package(thing): how for how, thing in entries if how != "file"},
        tuple(files),
        {_package(package): line(path) for package, path in changed},
        tuple(_package(package) for package in facts.get("claimed", ()) if package),
        uses,
        device(undone) if (undone := "".join(facts.get("undone", ()))) else "",
    )


def added_on(undone: str = "") -> Probe[Added]:
    """Ask what is noted on a node, and what it may be used for; nothing is changed.

    Args:
        undone: The disk whose layout goes; empty for none.
    """
    script = sh(
        """family=; if command -v dpkg-query >/dev/null; then family=debian; elif command -v rpm >/dev/null; then family=rhel; fi
if [ -d @{folder} ] && cd @{folder} && [ -n "$family" ]; then
  if [ "$family" = debian ]; then @!{debian}
  else @!{rhel}
  fi
  @!{settle}
  aside=$(mktemp -d) && trap 'rm -rf "$aside"' EXIT || exit 1
  listed | sed '/^not-installed /d; /^config-files /d; s/^[^ ]* //' > "$aside/there"
  { cat added 2>/dev/null; [ ! -e meant ] || found meant; } | LC_ALL=C sort -u | awk '
    NR == FNR { there[$1]; next } $1 == "file" || $2 in there' "$aside/there" - > "$aside/added"
  echo "$family" | as family
  as added < "$aside/added"
  sed -n 's/^\\(purge\\|remove\\) //p' "$aside/added" > "$aside/packages"
  claimed < "$aside/packages" | grep -vxF -f asked | as claimed
  if [ "$family" = debian ]; then
    xargs -r dpkg-query -W -f '#${binary:Package}\\n${Conffiles}\\n' -- < "$aside/packages" | plain | while read -r first second rest; do
      case $first in
        '#'*) package=${first#?} ;;
        /*) [ ! -e "$first" ] || [ "$(md5sum < "$first" | cut -d ' ' -f 1)" = "$second" ] || echo "$package $first" ;;
      esac
    done
  else
    while read -r package; do rpm -Vc "$package" | sed -n "s|^..5.* c |$package |p"; done < "$aside/packages"
  fi | as changed
  for disk in $(lsblk -dnpo NAME 2>/dev/null); do lsblk -rnpo FSTYPE "$disk" | sed -n "s|^.|$disk &|p"; done > "$aside/uses"
  # Without udev lsblk knows no file system; what is mounted says it as well.
  { lsblk -rnpo NAME,TYPE 2>/dev/null | sed -n 's/ lvm$/ LVM2_member/p'; findmnt -rn -o SOURCE,FSTYPE -t btrfs,xfs; } | while read -r source kind; do
    source=${source%%\\[*}
    disk=$(lsblk -rsnpo NAME "$source" 2>/dev/null | tail -n 1)
    echo "${disk:-$source} $kind"
  done >> "$aside/uses"
  sort -u "$aside/uses" | as uses
  [ -z @{undone} ] || readlink -f @{undone} | as undone
fi
true""",
        folder=NOTE,
        debian=_LISTED["debian"],
        rhel=_LISTED["rhel"],
        settle=_SETTLE,
        undone=undone,
    )
    return Probe(script, _read)


#: `needed` prints those of $all that a package beside them names as its only choice, and that one: most is known without a
#: simulation, each of which takes seconds. `beside` prints what would go beside the packages that are named, and of apt also what
#: would come in their place.
_BESIDE = {
    "debian": sh("""plain() { sed "s/:$(dpkg --print-architecture)\\$//"; }
needed() { dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Pre-Depends}, ${Depends}\\n' | awk -v all="$(echo $all)" -v arch="$(dpkg --print-architecture)" '
  BEGIN { n = split(all, list, " "); for (i = 1; i <= n; i++) ours[list[i]] }
  $1 != "installed" { next }
  { name = $2; sub(":" arch "$", "", name); $1 = $2 = ""; deps[name] = $0; if (!(name in ours)) queue[++last] = name }
  END { for (at = 1; at <= last; at++) {
      n = split(deps[queue[at]], clauses, ",")
      for (i = 1; i <= n; i++) {
        if (clauses[i] ~ /[|]/) continue
        split(clauses[i], words, " "); one = words[1]; sub(":any$", "", one)
        if (one in ours && !(one in kept)) { kept[one]; print one, queue[at]; queue[++last] = one }
      } } }'; }
beside() { LC_ALL=C apt-get -s -o Debug::NoLocking=1 remove -- "$@" | sed -n 's/^\\(Remv\\|Purg\\|Inst\\) \\([^ ]*\\).*/\\2/p' | plain | grep -vxF "$(printf '%s\\n' $all)" | head -n 1; }"""),
    # rpm removes nothing but what it is asked to; it says who needs it.
    "rhel": sh(
        """needed() { :; }
beside() { LC_ALL=C rpm -e --test "$@" 2>&1 | sed -n 's/.* is needed by (installed) //p' | head -n 1; }"""
    ),
}


def what_stays(family: str, packages: Iterable[str]) -> Probe[tuple[tuple[str, ...], Mapping[str, str]]]:
    """Ask the package manager which of some packages can go with nothing else, and which stay for whom.

    Args:
        family: debian or rhel.
        packages: The packages.
    """
    script = sh(
        """@!{beside}
aside=$(mktemp -d) && trap 'rm -rf "$aside"' EXIT || exit 1
all=$(printf '%s\\n' @{packages})
needed > "$aside/stays"
all=$(printf '%s\\n' $all | while read -r package; do grep -q "^$package " "$aside/stays" || echo "$package"; done)
while [ -n "$all" ] && other=$(beside $all) && [ -n "$other" ]; do
  left= fewer=
  for package in $all; do
    @!{alone}
    if [ -n "$other" ]; then echo "$package $other" >&3; fewer=yes; else left="$left $package"; fi
  done
  [ -n "$fewer" ] || { for package in $left; do echo "$package $(beside $all)" >&3; done; left=; }
  all=$(printf '%s\\n' $left)
done 3>> "$aside/stays"
as stays < "$aside/stays"
printf '%s\\n' $all | as goes""",
        beside=_BESIDE[family],
        packages=packages,
        alone=_ALONE[family],
    )

    def read(facts: Facts) -> tuple[tuple[str, ...], Mapping[str, str]]:
        pairs = (each.partition(" ")[::2] for each in facts["stays"] if each)
        return (
            tuple(sorted(_package(each) for each in facts["goes"] if each)),
            {_package(package): line(other) for package, other in pairs},
        )

    return Probe(script, read)


#: What a package alone would take that is not among the others.
_ALONE = {
    "debian": sh("other=$(beside $package)"),
    # rpm names what needs it; what is among the others goes as well.
    "rhel": sh("""other=$(LC_ALL=C rpm -e --test "$package" 2>&1 | sed -n 's/.* is needed by (installed) //p' | while read -r full; do
      rpm -q --qf '%{NAME}\\n' "$full" | grep -vxF "$(printf '%s\\n' $all)"; done | head -n 1)"""),
}


# -- what stays in any case, and going -----------------------------------------------------------------------------------

#: For which file systems and volumes a package is there.
_FOR = {
    "lvm2": ("LVM2_member",), "thin-provisioning-tools": ("LVM2_member",), "device-mapper-persistent-data": ("LVM2_member",), "btrfs-progs": ("btrfs",),
    "xfsprogs": ("xfs",),
}  # fmt: skip


def held_back(added: Added, engine: Iterable[str], why: str) -> dict[str, str]:
    """Return the packages that stay no matter who needs them, and why; pure.

    Args:
        added: What is noted.
        engine: The packages of an engine that stays.
        why: Why it does; empty where it does not.
    """
    found = {}
    for package in added.packages:
        disks = [each for kind in _FOR.get(package, ()) for each in added.uses.get(kind, ()) if each != added.undone]
        if why and package in engine:
            found[package] = why
        elif disks:
            found[package] = f"for {', '.join(dict.fromkeys(disks))}"
        elif package in added.claimed:
            found[package] = "which was asked for since"
        elif package in added.changed:
            found[package] = f"{added.changed[package]} was changed"
    return found


#: docker.io's script leaves one of its own when the package is removed, which a purge then runs: it would delete whatever lies in
#: the engine's folder.
_REMOVE = sh("""nuke=/var/lib/docker/nuke-graph-directory.sh
[ ! -e $nuke ] || nuke=
DEBIAN_FRONTEND=noninteractive apt-get remove -y -q -- $all || exit
[ -z "$nuke" ] || rm -f $nuke""")


def removal(family: str, packages: Iterable[str], keep: Iterable[str], files: Iterable[str]) -> Script:
    """Return what removes packages, and nothing else: what has come to need them since they were looked at ends it before anything goes.

    Args:
        family: debian or rhel.
        packages: The packages.
        keep: Those of them whose settings stay.
        files: Files that go with them.
    """
    going, kept = list(packages), set(keep)
    script = []
    if going:
        script.append(
            sh(
                """@!{beside}
all=$(printf '%s\\n' @{packages})
other=$(beside $all)
[ -z "$other" ] || { echo "$other would go as well" >&2; exit 1; }""",
                beside=_BESIDE[family],
                packages=going,
            )
        )
    if family == "debian" and going:
        script.append(_REMOVE)
        if purged := [package for package in going if package not in kept]:
            # Of one without settings nothing is left, and apt may know of none of that name any more.
            script.append(
                sh(
                    """left=$(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\\n' | plain | sed -n 's/^config-files //p' | grep -xF "$(printf '%s\\n' @{packages})")
[ -z "$left" ] || DEBIAN_FRONTEND=noninteractive apt-get purge -y -q -- $left || exit""",
                    packages=purged,
                )
            )
    elif going:
        script.append(sh("rpm -e -- @{packages} || exit", packages=going))
    script.append(sh("rm -rf @{things}", things=[*files, NOTE]))
    return lines(*script)
