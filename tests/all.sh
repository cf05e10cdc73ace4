#!/bin/bash
# Everything that CI runs, by way of `make test`.
#
#   lint, unit tests, wire formats ──► integration tests ──► package, image
#   Python's packages                  demos, image
#
# What stands below runs beside: packages come while the compiler works; and integration tests wait more than they compute, so
# what some of them try, and the image, are built with what they leave of the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target

others=()
# beside LOG COMMAND…: in a session of its own, all of which ends with this script.
beside() {
    setsid "${@:2}" >"$1" 2>&1 &
    others+=($!)
}
end() { for other in "${others[@]}"; do kill -- "-$other" 2>/dev/null || true; done; }
trap end EXIT
trap 'exit 130' INT TERM

beside target/python.log bash -c 'for name in wire api page pipecat; do tests/venv.sh $name; done'
make lint unit wire checked
make integration-built
# Cargo builds one thing at a time, and the tests are first.
beside target/image.log chrt --idle 0 sh -c 'sleep 15; exec make demos image'
make integration
echo "Waiting for the image …"
wait "${others[1]}" || { tail -n 20 target/image.log && exit 1; }
make --jobs 2 --output-sync package-test image-test
