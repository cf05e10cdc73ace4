#!/bin/bash
# Runs the integration tests: tests/run.sh [arguments of the test programs]
#
# They wait more than they compute, so two programs run at a time; those that measure a whole machine come last, each by
# itself.
#
# Most of them check times on a line, and a machine that stops for 50 ms because others use it breaks them for nothing. So
# a test that fails is run once more, alone; what fails then has failed. Many failures are not the machine's fault, and are
# not tried again.
set -uo pipefail
cd "$(dirname "$0")/.."
AT_ONCE=2
ALONE="frozen_server many_calls wake_ups"
AGAIN_MAX=5
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
export logs=target/integration

# run [ARGUMENT...] NAME PROGRAM: shows what the program printed when it has ended, and keeps it.
run() {
	local name=${*: -2:1} program=${*: -1} status=0
	"$program" "${@:1:$# - 2}" >"$logs/$name.log" 2>&1 || status=$?
	{
		flock 9
		printf '\n     Running tests/%s\n' "$name"
		cat "$logs/$name.log"
	} 9>"$logs/lock"
	# 101: a test failed. Whatever else it is, the program did not come to its end.
	((status == 0 || status == 101)) || echo "$name: exit $status" | tee -a "$logs/crashed"
	return "$status"
}
export -f run

# programs alone|together: "name path" of each, a line.
programs() {
	sed -n -E 's/^ +Executable tests\/([a-z_]+)(\/main)?\.rs \((.*)\)$/\1 \3/p' "$logs/build" |
		awk -v alone=" $ALONE " -v wanted="$1" '(index(alone, " " $1 " ") > 0) == (wanted == "alone")'
}

rm -rf "$logs"
mkdir -p "$logs"
cargo test --release --no-run -p res_ai_bridge 2>&1 | tee "$logs/build" || exit 1
[ -n "$(programs together)" ] || { echo "cargo named no test programs" >&2 && exit 1; }
status=0
programs together | xargs -P "$AT_ONCE" -L 1 bash -c 'run "$@"' run "$@" || status=1
programs alone | xargs -L 1 bash -c 'run "$@"' run "$@" || status=1
((status != 0)) || exit 0

# "name test" a line, of every test that failed.
failed=()
for log in "$logs"/*.log; do
	name=${log##*/} name=${name%.log}
	while read -r test; do failed+=("$name $test"); done < <(sed -n -E 's/^test (.*) \.\.\. FAILED$/\1/p' "$log")
done
# A program that crashed has no failed test to run again.
if ((${#failed[@]} == 0 || ${#failed[@]} > AGAIN_MAX)) || [ -e "$logs/crashed" ]; then
	exit 1
fi
echo
echo "Once more, alone: ${#failed[@]} failed"
status=0
for line in "${failed[@]}"; do
	cargo test --release -p res_ai_bridge --test "${line%% *}" -- --exact "${line#* }" 2>&1 | tee "$logs/again" || status=1
	grep -q '^test result: ok. 1 passed' "$logs/again" || status=1
done
((status == 0)) && echo "All of them passed alone: the machine was busy. Failed at first: ${failed[*]}"
exit "$status"
