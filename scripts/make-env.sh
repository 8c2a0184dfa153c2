#!/bin/sh
# Makes the environment in .venv: finds Python and uv, then installs the project with all that its tests need.
set -eu
cd "$(dirname "$0")/.."

MINIMUM="3.11"

is_recent() {
    "$1" -c "import sys; sys.exit(sys.version_info[:2] < tuple(map(int, '$MINIMUM'.split('.'))))" >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if is_recent "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: no Python >= $MINIMUM found (python3 is: $(python3 --version 2>&1 || echo absent));" \
         "install one, or name it: make env PYTHON=/path/to/python3.12" >&2
    return 1
}

# A uv on the PATH will do; otherwise a private one, so that nothing outside this folder changes.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    if [ ! -x .state/uv/bin/uv ]; then
        echo "uv is not installed: installing it into .state/uv" >&2
        if ! "$1" -m venv --clear .state/uv >&2; then
            echo "error: '$1 -m venv' failed; install the package python3-venv, or uv (https://docs.astral.sh/uv)" >&2
            return 1
        fi
        .state/uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    fi
    echo .state/uv/bin/uv
}

python=$(find_python)
uv=$(find_uv "$python")
if ! is_recent .venv/bin/python; then
    "$uv" venv --quiet --clear --python "$python" .venv
fi
"$uv" pip install --quiet --python .venv/bin/python --editable . --group dev
.venv/bin/sparkml --version
# The stamp comes last: an interrupted installation is taken up again by the next `make env`.
touch .venv/.installed
