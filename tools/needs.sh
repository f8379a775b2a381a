#!/bin/sh
# What the tests need of the system, in one place.
# Usage: tools/needs.sh [root] PROGRAM...
# As root with apt it installs what is missing; otherwise it prints what to type (exit 2).
set -eu
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

package() {
    case $1 in
        sshd) echo openssh-server ;;             # on the loopback, for what is said over SSH
        restic) echo restic ;;                   # the repository of the backups
        ssh) echo openssh-client ;;              # what a person types, and an agent of the operator's
        fish | tcsh) echo "$1" ;;                # login shells that quote in their own way
        mmdebstrap) echo mmdebstrap ;;           # the base of the lab's images where none can be pulled
        linux.uml) echo user-mode-linux ;;       # machines with a kernel of their own, for the layouts of the disks
        mkfs.ext4) echo e2fsprogs ;;             # ... and their file system
        cc) echo gcc libc6-dev ;;                # ... and what their processor has too much of
        chromium) echo chromium ;;               # a reader of the notebooks
        docker) echo docker.io ;;                # its client; the lab starts the engine
        ps) echo procps ;;
        systemd-analyze) echo systemd ;;         # reads the units that are written; runs nothing
        sysbench | mydumper | npm) echo "$1" ;;  # clients that no one here wrote, at the endpoint
        mariadb) echo mariadb-client-core ;;
        pt-table-checksum) echo percona-toolkit ;;
        stress-ng) echo stress-ng ;;             # keeps a computer busy
        gpg | gpgv | curl | unzip) echo "$1" ;;  # a signed release, and refused ones
        promtool)                                # tries alerts' rules; Debian 12 has it in prometheus's own package
            if apt-cache show promtool > /dev/null 2>&1; then echo promtool; else echo prometheus; fi ;;
        *) echo "tools/needs.sh knows no program $1" >&2; exit 2 ;;
    esac
}

if [ "${1-}" = root ]; then
    shift
    if [ "$(id -u)" != 0 ]; then
        echo "these tests need root: they start machines with a kernel of their own, and look at every process" >&2
        exit 2
    fi
fi
programs= packages=
for program; do
    name=$(package "$program")
    command -v "$program" > /dev/null || { programs="$programs $program"; packages="$packages $name"; }
done
[ -n "$packages" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "the tests lack$programs; on Debian or Ubuntu: sudo apt-get install$packages" >&2
    exit 2
fi
echo "installing$packages, which the tests need"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086  # several words on purpose
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } > "$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "could not install$packages: fix apt, or install them by hand, and run again" >&2
    exit 2
fi
rm -f "$log"
