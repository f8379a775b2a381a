#!/bin/sh
# The tests that need no lab, on every supported Python that is found here: on PATH, or installed by pyenv.
# Usage: tools/pythons.sh [VERSION...]     (3.10 3.12, say; all by default). Exit 1 when one fails, 2 when there is none.
set -eu
cd "$(dirname "$0")/.."

# The first one of each version: what is on PATH goes before what pyenv keeps.
python_of() {
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        # pyenv's shim is there for a version that is not chosen, too, and fails.
        if [ -x "$candidate" ] && "$candidate" -c 'import venv, ensurepip' 2> /dev/null; then
            echo "$candidate"
            return
        fi
    done
}

tools/needs.sh restic ssh sshd ps gpg gpgv curl unzip
found= failed=
for version in ${*:-3.10 3.11 3.12 3.13 3.14}; do
    python=$(python_of "$version")
    [ -n "$python" ] || { echo "Python $version: not found here"; continue; }
    found="$found $version"
    environment=".venv-pythons/$version"
    if [ ! -e "$environment/.ready" ] || [ pyproject.toml -nt "$environment/.ready" ] || [ requirements/dev.txt -nt "$environment/.ready" ]; then
        echo "Python $version: setting up $environment"
        "$python" -m venv --clear "$environment"
        pip="$environment/bin/python -m pip install -q --disable-pip-version-check --no-deps"
        $pip --require-hashes --only-binary :all: -r requirements/dev.txt
        $pip --no-build-isolation --no-index -e .
        touch "$environment/.ready"
    fi
    echo "Python $version: $("$environment/bin/python" --version 2>&1)"
    SWARMBOOK_NO_SKIPS=1 "$environment/bin/python" -m pytest -q -n logical --dist loadgroup -p no:cacheprovider tests/unit tests/runbook || failed="$failed $version"
done
[ -n "$found" ] || { echo "no supported Python with venv was found" >&2; exit 2; }
[ -z "$failed" ] || { echo "failed on Python$failed" >&2; exit 1; }
echo "passed on Python$found"
