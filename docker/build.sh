#!/bin/bash
# Builds the image: docker/build.sh [name]. By way of docker/with-engine.sh, as `make image` does it.
#
# Where the base image cannot be had from a registry it is made with debootstrap. The certificates this machine trusts
# (CA_BUNDLE) and its configuration of cargo (CARGO_CONFIG) reach the build as secrets: neither is in the image.
#
# Exit status 69: the engine cannot build anything.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/rig/packages.sh
image=${1:-res_ai_bridge}
base=debian:forky-slim
ca=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
cargo=${CARGO_CONFIG:-}
remains=()
trap 'rm -rf "${remains[@]}"' EXIT

# debootstrap knows a machine's mirror from its apt. Services must not start while packages are installed in the image.
make_base() {
    local mirror root
    command -v debootstrap >/dev/null || {
        apt update
        apt install -y --no-install-recommends debootstrap
    } >&2
    mirror=${RIG_MIRROR:-$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$1 ~ /\/debian\/?$/ && $2 !~ /-/ && $3 == "main" { print $1; exit }')}
    root=$(mktemp -d)
    remains+=("$root" "$root.log")
    echo "The base image is made with debootstrap (about a minute) …" >&2
    # "sid" is the script for every release this machine's debootstrap does not know yet.
    unshare --mount debootstrap --variant=minbase forky "$root" "$mirror" sid >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2 && exit 1; }
    rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,info,locale,man}/*
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    # A mirror's Release file may lag.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90lagging-mirror"
    tar -C "$root" -c . | docker import - "$1" >/dev/null
}

if ! docker image inspect "$base" >/dev/null 2>&1 && ! timeout 60 docker pull -q "$base" >/dev/null 2>&1; then
    base=res_ai_bridge-base:forky
    docker image inspect $base >/dev/null 2>&1 || make_base $base
fi

# Containers that do not start, or reach no package mirror, say nothing about the image.
docker run --rm -e http_proxy -e https_proxy -e no_proxy "$base" apt-get -qq update >/dev/null || exit 69

# Of this machine's own configuration only what says where crates come from: its linkers and wrappers are not in the image.
if [ -z "$cargo" ]; then
    cargo=$(mktemp)
    remains+=("$cargo")
    awk '/^\[/ { wanted = /^\[(source|registr|http|net)/ } wanted' "${CARGO_HOME:-$HOME/.cargo}/config.toml" >"$cargo" 2>/dev/null || true
fi

arguments=(--build-arg "BASE=$base" --tag "$image")
if [ -e "$ca" ]; then arguments+=(--secret "id=ca,src=$ca"); fi
if [ -e "$cargo" ]; then arguments+=(--secret "id=cargo,src=$cargo"); fi
# Docker knows these by itself, and does not keep them.
for name in http_proxy https_proxy no_proxy; do
    if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name"); fi
done
docker build "${arguments[@]}" .
docker image inspect --format "Image $image: {{.Size}} bytes" "$image"
