#!/bin/bash
# The Python packages of tests/<name>/requirements.txt, in a folder of their own: target/<name>/venv. When nothing has
# changed this takes no time.
#
#   tests/venv.sh api|bench|page|pipecat|wire
set -euo pipefail

name=$1
checkout=$(cd "$(dirname "$0")/.." && pwd)
wanted=$checkout/tests/$name/requirements.txt
venv=$checkout/target/$name/venv

mkdir -p "${venv%/*}"
# Another one may be at it.
exec 9>"${venv%/*}/lock"
flock 9
cmp -s "$wanted" "$venv/installed" && exit
echo "Installing the Python packages of tests/$name …" >&2
rm -rf "$venv"
python3 -m venv "$venv" || {
    echo "tests/$name needs Python 3.11 or newer with venv (Debian: apt install python3-venv)." >&2
    exit 1
}
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$venv/installed"
