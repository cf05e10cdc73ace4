#!/bin/bash
# The vendors' Python packages, in a folder of their own: target/wire/venv. When nothing has changed this takes no time.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/../.." && pwd)
wanted=$checkout/tests/wire/requirements.txt
venv=$checkout/target/wire/venv

cmp -s "$wanted" "$venv/installed" && exit
echo "Installing the vendors' packages …" >&2
rm -rf "$venv"
mkdir -p "${venv%/*}"
python3 -m venv "$venv" || {
    echo "The check of the wire formats needs Python 3.11 or newer with venv (Debian: apt install python3-venv)." >&2
    exit 1
}
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
cp "$wanted" "$venv/installed"
