#!/bin/bash
# Runs the integration tests: tests/run.sh [arguments of the test programs]
#
# Most of them check times on a line, four at a time, and a machine that stops for 50 ms because others use it breaks
# them for nothing. So a test that fails is run once more, alone; what fails then has failed. Many failures are not the
# machine's fault, and are not tried again.
set -uo pipefail
cd "$(dirname "$0")/.."
AGAIN_MAX=5
log=target/integration.log

tests() { cargo test --release --no-fail-fast -p res_ai_bridge "$@"; }

tests -- "$@" 2>&1 | tee "$log" && exit 0

# "tests/audio.rs name" a line, of every test that failed.
mapfile -t failed < <(sed -n -E 's/^ +Running (tests\/[^ ]+) .*/@ \1/p; s/^test (.*) \.\.\. FAILED$/\1/p' "$log" |
	awk '$1 == "@" { file = $2; next } { print file, $0 }')
# A program that crashed has no failed test to run again.
crashed=$(grep -c "process didn't exit successfully" "$log")
if ((${#failed[@]} == 0 || ${#failed[@]} > AGAIN_MAX || crashed > 0)); then
	exit 1
fi
echo
echo "Once more, alone: ${#failed[@]} failed"
status=0
for line in "${failed[@]}"; do
	program=${line%% *} name=${line#* }
	program=${program#tests/} program=${program%.rs} program=${program%/main}
	tests --test "$program" -- --exact "$name" 2>&1 | tee "$log.again" || status=1
	grep -q '^test result: ok. 1 passed' "$log.again" || status=1
done
((status == 0)) && echo "All of them passed alone: the machine was busy. Failed at first: ${failed[*]}"
exit "$status"
