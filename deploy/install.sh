#!/bin/sh
# install.sh PYTHON VENV EXTRAS: build a virtual environment from the pinned versions, without root and manual steps.
# TORCH_INDEX_URL: the index for PyTorch (for extras that need it), if not the default one; for example that of CPU builds.
set -eu
python=$1 venv=$2 extras=$3

command -v "$python" >/dev/null || { echo "parley: $python not found; install Python 3.11 or name yours: make run PYTHON=…" >&2; exit 2; }
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || {
    echo "parley: Python 3.11 to 3.14 is needed, $python is $("$python" -V); name another: make run PYTHON=…" >&2; exit 2; }

if [ ! -x "$venv/bin/python" ]; then
    echo "Building $venv …"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian without python3-venv: the system's pip installs pip into the environment.
        "$python" -m venv --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    elif command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$python" "$venv"
    else
        echo "parley: this Python has neither venv nor pip; on Debian: apt install python3-venv" >&2
        exit 2
    fi
fi

pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check"
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
# Each file must have a hash from requirements.lock. Build tools come first, and build all other packages: otherwise pip
# would fetch build tools of any version for each package.
locked() {
    "$venv/bin/python" deploy/locked.py "$@" >"$wanted"
    $pip --require-hashes --no-deps --no-build-isolation -r "$wanted"
}

echo "Installing Parley${extras:+ with $extras} …"
locked --only build
locked "$extras"
$pip --no-deps --no-build-isolation -e .
case ",$extras," in
*,xtts,*|*,pocket,*|*,align,*|*,speakers,*)
    # By version only: the right build differs by machine. Without dependencies if another index is named, because that
    # one may lack their pinned versions. They are installed already, except those of a CUDA build.
    echo "Installing PyTorch …"
    $pip -c constraints.txt ${TORCH_INDEX_URL:+--no-deps --index-url "$TORCH_INDEX_URL"} torch ;;
esac
