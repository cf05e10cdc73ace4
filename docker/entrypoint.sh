#!/bin/sh
# Runs Asterisk until the container is stopped, and the practice agent beside it where a profile leads to it.
#
#   /etc/asterisk ──────────────┐ configure.sh
#   environment, secret files ──┴─────────────► /run/asterisk/etc ──► asterisk ──► log on stdout
set -eu

etc=/run/asterisk/etc
shipped=/etc/asterisk
state=/var/lib/asterisk
interfaces=/sys/class/net
modules=$(ls -d /usr/lib/*/asterisk/modules) # named for the architecture
. "$(dirname "$0")/configure.sh"

# Calls that are up may go on for DRAIN_S, while no new ones are taken; then they are hung up.
stop() {
    trap '' TERM INT
    stopping=yes
    left=${DRAIN_S:-0}
    if [ "$left" -gt 0 ]; then
        say "no new calls; those that are up have $left s"
        timeout 5 asterisk -C "$etc/asterisk.conf" -rx 'core stop gracefully' >/dev/null 2>&1 || true
    fi
    while [ "$left" -gt 0 ] && kill -0 "$pbx" 2>/dev/null; do
        sleep 1
        left=$((left - 1))
    done
    kill -TERM "$pbx" 2>/dev/null || true
}

# Ends with the container, not before.
practice() {
    while true; do
        practice-agent || true
        say "the practice agent has ended; it starts again"
        sleep 2
    done
}

# The first process of a container is not ended by a signal that it does not wait for.
trap 'exit 143' TERM INT
configure
if grep -q "^[^;]*$practice" "$etc/ai_bridge.conf"; then practice & fi
say "Asterisk starts; calls talk to the profile [$profile]"
stopping=
asterisk -f -T -n -C "$etc/asterisk.conf" &
pbx=$!
trap stop TERM INT
status=0
wait "$pbx" || status=$?
# A signal ends the first `wait` before Asterisk has ended.
if [ -n "$stopping" ]; then
    status=0
    wait "$pbx" || status=$?
fi
exit "$status"
