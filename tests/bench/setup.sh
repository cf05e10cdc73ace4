#!/bin/bash
# The Python packages of the bench's Python bridge, in a folder of their own: target/bench/venv.
# When nothing has changed this takes no time.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/../.." && pwd)
wanted=$checkout/tests/bench/requirements.txt
venv=$checkout/target/bench/venv

cmp -s "$wanted" "$venv/installed" && exit
echo "Installing the Python bridge's packages …" >&2
rm -rf "$venv"
mkdir -p "${venv%/*}"
python3 -m venv "$venv" || {
    echo "The bench needs Python 3.11 or newer with venv (Debian: apt install python3-venv)." >&2
    exit 1
}
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$venv/installed"
