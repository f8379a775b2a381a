"""Operating systems as data: which are known, how each kind asks for, gets and updates packages, and what it calls them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarmbook.access.commands import Script, lines, sh
from swarmbook.base.errors import WorldError
from swarmbook.phases.support.added import noted, noted_file

__all__ = [
    "ENGINE_OF_OURS",
    "ENGINE_PACKAGES",
    "FAMILIES",
    "OS_RELEASE",
    "Family",
    "family_of",
    "install_engine",
    "read_os_release",
]

#: Gives the fact ``os``, which :func:`read_os_release` reads.
OS_RELEASE = sh("cat /etc/os-release 2>/dev/null | as os")

#: The engine's package, by the parameter ``docker_source``; Docker's own has the same name for apt and dnf.
ENGINE_PACKAGES: Mapping[str, str] = {"system": "docker.io", "docker": "docker-ce"}

#: All that is asked for when an engine is installed, whatever the source.
ENGINE_OF_OURS = frozenset(
    [*ENGINE_PACKAGES.values(), "docker-cli", "docker-ce-cli", "containerd", "containerd.io", "runc", "iptables", "iptables-nft"]
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Systems that share their package manager.

    Args:
        name: debian or rhel.
        names: What it calls the package for a purpose.
        installed: Template; prints which of ``packages`` are installed, a name a line.
        versions: Template; prints name and version of those of ``packages`` that are installed, a package a line.
        refresh: Fetches the lists of packages.
        updates: Prints how many updates wait.
        upgrade: Does them.
        install: Installs ``"$@"``.
        lists: A file that is as old as the lists of packages.
    """

    name: str
    names: Mapping[str, str]
    installed: str
    versions: str
    refresh: Script
    updates: Script
    upgrade: Script
    install: Script
    lists: str

    def packages(self, purposes: Iterable[str]) -> tuple[str, ...]:
        """List the names of the packages for purposes, each once."""
        return tuple(dict.fromkeys(self.names[purpose] for purpose in purposes))

    def which(self, packages: Iterable[str]) -> Script:
        """Return the script that prints which of some packages are installed."""
        return sh(self.installed, packages=packages)

    def asks_versions(self, packages: Iterable[str]) -> Script:
        """Return the script that prints name and version of packages."""
        return sh(self.versions, packages=packages)

    def install_command(self, packages: Iterable[str], further: Script | None = None) -> Script:
        """Return the script that installs packages, on fresh lists, and notes on the node what it has added.

        Args:
            packages: The packages.
            further: Prints the names of more.
        """
        return sh(
            "@!{refresh} || exit\n@!{install}",
            refresh=self.refresh,
            install=noted(self.name, packages, self.install, further),
        )


FAMILIES: Mapping[str, Family] = {
    "debian": Family(
        "debian",
        {
            "certificates": "ca-certificates", "partitions": "fdisk", "lvm": "lvm2", "thin": "thin-provisioning-tools",
            "btrfs": "btrfs-progs", "xfs": "xfsprogs", "wall": "nftables",
        },
        installed="dpkg-query -W -f '${Package} ${db:Status-Status}\\n' -- @{packages} 2>/dev/null | sed -n 's/ installed$//p'",
        versions="dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n' -- @{packages} 2>/dev/null | sed -n 's/^installed //p'",
        refresh=sh("DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null"),
        updates=sh("apt-get -s upgrade | grep -c '^Inst'"),
        upgrade=sh("DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -q"),
        install=sh('DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -- "$@"'),
        lists="/var/lib/apt/lists",
    ),
    "rhel": Family(
        "rhel",
        {
            "certificates": "ca-certificates", "partitions": "util-linux", "lvm": "lvm2", "thin": "device-mapper-persistent-data",
            "btrfs": "btrfs-progs", "xfs": "xfsprogs", "wall": "nftables",
        },
        installed="rpm -q --qf '%{NAME}\\n' -- @{packages} | grep -v ' '",
        versions="rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE}\\n' -- @{packages} | grep -v 'not installed'",
        refresh=sh("dnf -q makecache"),
        updates=sh("dnf -q -C list --upgrades 2>/dev/null | grep -c '^[^ ]*\\.[^ ]* '"),
        upgrade=sh("dnf -q -y upgrade"),
        install=sh('dnf -q -y install --setopt=install_weak_deps=False -- "$@"'),
        lists="/var/cache/dnf",
    ),
}  # fmt: skip

#: The oldest version of each system that the book is written for.
_OLDEST: Mapping[str, tuple[int, ...]] = {
    "debian": (12,),
    "ubuntu": (22, 4),
    "rocky": (9,),
    "almalinux": (9,),
    "rhel": (9,),
    "centos": (9,),
}
_KIN = {"debian": "debian", "ubuntu": "debian", "rhel": "rhel", "centos": "rhel", "rocky": "rhel", "almalinux": "rhel"}
_SUPPORTED = (
    "Debian from 12, Ubuntu from 22.04, Rocky, Alma or RHEL from 9, or a system that names one of them as its like"
)


def read_os_release(lines: Iterable[str]) -> dict[str, str]:
    """Parse the values of os-release, of which each text is cut at 200 characters."""
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key: " ".join(shlex.split(value, comments=True))[:200] for key, _, value in pairs}


def family_of(host: str, system: Mapping[str, str]) -> Family:
    """Return the family of a system.

    Args:
        host: For the message.
        system: Its os-release.

    Raises:
        WorldError: It is none that the book knows, or too old.
    """
    id, version = system.get("ID", ""), system.get("VERSION_ID", "")
    kin = next((_KIN[word] for word in [id, *system.get("ID_LIKE", "").split()] if word in _KIN), "")
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    # Without a number it is Debian's next one, which has none; and those of others are not comparable.
    if kin and (id not in _OLDEST or not numbers or numbers >= _OLDEST[id]):
        return FAMILIES[kin]
    raise WorldError(
        f"{host} runs a system that {'is too old for the book' if kin else 'the book does not know'}; nothing was touched",
        where=host,
        wanted=_SUPPORTED,
        seen=system.get("PRETTY_NAME") or f"{id} {version}".strip() or "no /etc/os-release",
        next="install one of these on it, or leave it out of nodes",
    )


# -- the engine ------------------------------------------------------------------------------------------------------

_HOME = "https://download.docker.com/linux"
#: Fingerprints of the keys that Docker signs its packages with. What is fetched is held against them before anything trusts it.
_KEYS = {"debian": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88", "rhel": "060A61C51B558A7F742B77AAC52FEB6B621E9F35"}


def install_engine(host: str, system: Mapping[str, str], source: str) -> list[Script]:
    """List the commands that install the engine.

    Args:
        host: For the message.
        system: Its os-release.
        source: ``system``, or ``docker`` for Docker's repository.

    Raises:
        WorldError: The system has no package of the engine, or Docker has no repository for it.
    """
    family = family_of(host, system)
    if source == "system":
        if family.name == "rhel":
            raise WorldError(
                f"the system of {host} has no package of the Docker Engine (its docker is podman under another name)",
                where=host,
                wanted="a package of the engine",
                seen=system.get("PRETTY_NAME", system.get("ID", "")),
                next="docker_source: docker in the parameters, for Docker's own repository",
            )
        # Debian 13 has the client in a package of its own.
        client = sh("$(apt-cache show docker-cli >/dev/null 2>&1 && echo docker-cli)")
        return [family.install_command([ENGINE_PACKAGES["system"], "iptables"], client)]
    packages = [ENGINE_PACKAGES["docker"], "docker-ce-cli", "containerd.io"]
    if family.name == "rhel":
        return [
            family.install_command(["curl", "gnupg2"]),
            *_add_dnf_repository(),
            family.install_command([*packages, "iptables-nft"]),
        ]
    return [
        family.install_command(["ca-certificates", "curl", "gpg"]),
        *_add_apt_repository(host, system),
        family.install_command([*packages, "iptables"]),
    ]


def _fetch_key(url: str, family: str, into: str) -> Script:
    """Fetch a key, refuse it unless it is the pinned one and the only one, and put it in place."""
    return sh(
        """set -e
umask 022
aside=$(mktemp -d); trap 'rm -rf "$aside"' EXIT
curl -fsSL --retry 3 -o "$aside/key" @{url}
seen=$(GNUPGHOME="$aside" gpg --batch --with-colons --show-keys "$aside/key" | awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
if [ "$seen" != @{pinned} ]; then echo "the key at "@{url}" is not Docker's: wanted "@{pinned}", seen $seen" >&2; exit 1; fi
mkdir -p @{folder}
install -m 644 "$aside/key" @{into}""",
        url=url,
        pinned=_KEYS[family],
        folder=into.rpartition("/")[0],
        into=into,
    )


#: A word of the host's, which goes into a file that apt reads.
_CODENAME = re.compile(r"[a-z][a-z0-9.-]{0,40}")


def _add_apt_repository(host: str, system: Mapping[str, str]) -> list[Script]:
    id = system.get("ID", "")
    base = id if id in ("debian", "ubuntu") else "ubuntu" if "UBUNTU_CODENAME" in system else "debian"
    name = system.get("UBUNTU_CODENAME") or system.get("DEBIAN_CODENAME") or system.get("VERSION_CODENAME", "")
    if not _CODENAME.fullmatch(name):
        raise WorldError(
            f"the system of {host} does not say which release it is, and Docker's repository goes by that name",
            where=f"{host}: /etc/os-release",
            wanted="VERSION_CODENAME",
            seen=system.get("PRETTY_NAME", id),
            next="docker_source: system",
        )
    key = "/etc/apt/keyrings/docker.asc"
    entry = f"Types: deb\nURIs: {_HOME}/{base}\nSuites: {name}\nComponents: stable\nSigned-By: {key}\n"
    source = "/etc/apt/sources.list.d/docker.sources"
    return [
        lines(noted_file(key), _fetch_key(f"{_HOME}/{base}/gpg", "debian", key)),
        lines(noted_file(source), sh("printf %s @{entry} > @{source}", entry=entry, source=source)),
    ]


def _add_dnf_repository() -> list[Script]:
    key = "/etc/pki/rpm-gpg/RPM-GPG-KEY-docker"
    # Rocky, Alma and RHEL are of the same make as CentOS, and $releasever is 9 or 10 on each.
    entry = f"[docker-ce-stable]\nname=Docker CE\nbaseurl={_HOME}/centos/$releasever/$basearch/stable\nenabled=1\ngpgcheck=1\ngpgkey=file://{key}\n"
    source = "/etc/yum.repos.d/docker-ce.repo"
    return [
        lines(noted_file(key), _fetch_key(f"{_HOME}/centos/gpg", "rhel", key)),
        lines(
            noted_file(source),
            sh("rpm --import @{key} && printf %s @{entry} > @{source}", key=key, entry=entry, source=source),
        ),
    ]
