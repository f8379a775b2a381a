#!/bin/sh
# Writes requirements/*.txt: what each environment holds, every file by its SHA-256, on Python 3.10 to 3.13.
# Usage: tools/lock.sh [--upgrade]     Without it, versions that still fit stay as they are.
# uv resolves for all Pythons at once, which pip cannot do; it is needed only here, so it is in an environment of its own.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check uv
# The build backend, too: `pip install -e .` takes it from the environment, and fetches none.
backend=$(sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml)
resolve() {
    printf '%s\n' "$backend" | "$work/venv/bin/uv" pip compile -q --universal --python-version 3.10 --no-annotate --no-header \
        --no-emit-index-url pyproject.toml - "$@"
}

# One version of each for all environments: first everything together, then each environment held to that.
if [ "${1:-}" != --upgrade ]; then
    cat requirements/*.txt | sed -n 's/ \\$//; /^[A-Za-z0-9]/p' | sort -u > "$work/all.txt"
fi
resolve --all-extras -o "$work/all.txt" > /dev/null

lock() {
    name=$1
    shift
    {
        echo "# The environment '$name', by hash, on Python 3.10 to 3.13. Made by: make lock"
        resolve --generate-hashes -c "$work/all.txt" "$@"
    } > "$work/$name.txt"
    mv "$work/$name.txt" "requirements/$name.txt"
}
lock run
lock dev --extra test --extra check
lock book --extra book
