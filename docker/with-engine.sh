#!/bin/bash
# Runs a command with a Docker engine: docker/with-engine.sh COMMAND...
#
# The engine of this machine, if one answers; else one that is started for the command and stopped after it, with images
# in the user's cache folder (needs root; on Debian docker.io is installed for it). `docker` then is a client that can
# build with BuildKit: a newer one without its plugin buildx cannot. `compose` is Docker's or Debian's.
#
# Without any engine, or with one that cannot build anything (exit status 69 of the command), the command is skipped: an
# error, but in CI (CI=true) only a word.
set -euo pipefail

. "$(dirname "$0")/../tests/rig/packages.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/res_ai_bridge/docker
started=

skip() {
    echo "skipped: no Docker engine that works: $1" >&2
    if [ -n "${CI:-}" ]; then exit 0; else exit 1; fi
}

# The first client that can build. Since version 23 that takes a plugin.
find_client() {
    local client version
    for client in $(type -ap docker); do
        version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null || true)
        if [ "${version%%.*}" -lt 23 ] 2>/dev/null || "$client" buildx version >/dev/null 2>&1; then
            printf %s "$client"
            return
        fi
    done
}

install_engine() {
    [ "$(id -u)" = 0 ] || return 0
    command -v apt-get >/dev/null || return 0
    local client wanted=
    client=$(find_client)
    [ -n "$client" ] && { "$client" info || command -v dockerd; } >/dev/null 2>&1 || wanted=docker.io
    docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || wanted="$wanted docker-compose"
    [ -n "$wanted" ] || return 0
    echo "Installing $wanted …" >&2
    mkdir -p "$cache"
    {
        if is_interrupted; then finish_interrupted; fi
        apt update
        apt install -y --no-install-recommends $wanted
    } >"$cache/install.log" 2>&1 || echo "Installing $wanted failed: $(tail -n 1 "$cache/install.log")" >&2
}

# running FILE PATTERN: the process whose number is in the file, if it is there and its command line has the pattern. After a
# crash the number may be another one's.
running() {
    local number
    number=$(cat "$1" 2>/dev/null) || return 0
    if tr '\0' ' ' <"/proc/$number/cmdline" 2>/dev/null | grep -qF -- "$2"; then echo "$number"; fi
}

# An engine that outlived its script is ended; what one left that did not end in order would keep the next from starting.
clear_remains() {
    local remains process
    for remains in "pid --data-root $cache/data" "run/containerd/containerd.pid $cache/run/containerd"; do
        process=$(running "$cache/${remains%% *}" "${remains#* }")
        if [ -n "$process" ]; then
            kill "$process" 2>/dev/null || true
            timeout 30 tail --pid "$process" -f /dev/null || kill -9 "$process" || true
        fi
        rm -f "$cache/${remains%% *}"
    done
}

start_engine() {
    [ "$(id -u)" = 0 ] || skip "none answers, and starting one needs root"
    command -v dockerd >/dev/null || skip "there is no dockerd"
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock --nonblock 9 || { echo "Another build has the engine; waiting for it …" >&2 && flock 9; }
    export DOCKER_HOST=unix://$cache/socket
    clear_remains
    nice -n 10 dockerd --data-root "$cache/data" --exec-root "$cache/run" --pidfile "$cache/pid" -H "$DOCKER_HOST" >"$cache/log" 2>&1 9>&- &
    started=$!
    local try
    for try in $(seq 100); do
        if docker info >/dev/null 2>&1; then return; fi
        kill -0 $started 2>/dev/null || break
        sleep 0.3
    done
    skip "dockerd does not start: $(tail -n 1 "$cache/log")"
}

end() {
    rm -rf "$tools"
    [ -n "$started" ] || return 0
    kill "$started" 2>/dev/null || true
    wait "$started" 2>/dev/null || true
}

tools=$(mktemp -d)
trap end EXIT
install_engine
client=$(find_client)
[ -n "$client" ] || skip "there is no client that can build"
ln -s "$client" "$tools/docker"
export PATH=$tools:$PATH DOCKER_BUILDKIT=1
docker info >/dev/null 2>&1 || start_engine
if docker compose version >/dev/null 2>&1; then compose='exec docker compose "$@"'; else compose='exec docker-compose "$@"'; fi
printf '#!/bin/sh\n%s\n' "$compose" >"$tools/compose"
chmod +x "$tools/compose"
status=0
"$@" 9>&- || status=$?
[ "$status" != 69 ] || skip "its containers do not start, or reach no package mirror"
exit "$status"
