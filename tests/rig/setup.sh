#!/bin/bash
# Prepares this machine for building and testing: host packages and an Asterisk 22 with headers.
#
#   tests/rig/setup.sh [build]      with "build": only what building the module needs, which is no Asterisk if
#                                   ASTERISK_INCLUDE_DIR names headers
#
# A machine that has Asterisk 22 and its headers uses them. Any other Debian machine gets a root
# filesystem with Debian's own packages, in the user's cache folder, entered only with chroot.
# The result is written to target/rig.env. When nothing is missing this takes a fraction of a second.
set -euo pipefail

SUITE=forky # the first Debian release that carries Asterisk 22
ROOT_PACKAGES="asterisk asterisk-dev ca-certificates"
BUILD_PACKAGES="build-essential libclang-dev libsqlite3-dev libssl-dev pkg-config"
TEST_PACKAGES="sip-tester baresip-core espeak-ng util-linux iproute2 openssl fonts-dejavu-core python3-venv chromium curl sqlite3 git"
ROOT_LAYOUT=1 # raise it when prepare_root changes

checkout=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/res_ai_bridge
log=$checkout/target/setup.log
. "$checkout/tests/rig/packages.sh"

say() { printf '%s\n' "$@" >&2; }

die() {
    say ""
    say "Set-up stopped: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}

# step TEXT COMMAND...: runs the command with its output in the log, and shows how long it takes.
step() {
    local text=$1 start=$SECONDS pid
    shift
    printf '== %s\n' "$text" >>"$log"
    [ -t 2 ] || say "$text …"
    "$@" >>"$log" 2>&1 9>&- &
    pid=$!
    while [ -t 2 ] && kill -0 "$pid" 2>/dev/null; do
        printf '\r%s … %d s ' "$text" $((SECONDS - start)) >&2
        sleep 0.5
    done
    if wait "$pid"; then
        if [ -t 2 ]; then printf '\r' >&2; fi
        say "$text: done in $((SECONDS - start)) s"
    else
        say "" "$text: failed. The last lines of $log:"
        tail -n 8 "$log" | sed 's/^/    /' >&2
        return 1
    fi
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root." "Run the same command as root (for example with sudo)."
}

# The oldest Rust that the module is built with is in Cargo.toml, which an older cargo may not even understand.
rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$checkout/Cargo.toml")
    command -v cargo >/dev/null || die "there is no Rust toolchain on PATH." \
        "Install Rust $wanted or newer (https://rustup.rs), then run this again." \
        "If another user has it: build as that user, then run 'make install' as root."
    found=$(rustc --version | cut -d ' ' -f 2)
    printf '%s\n' "$wanted" "${found%%-*}" | sort --version-sort --check=quiet || die "Rust $found is too old." \
        "The module needs Rust $wanted or newer, which can be there beside a distribution's own: https://rustup.rs" \
        "Then open a new shell, or put ~/.cargo/bin first in PATH, and run this again."
}

is_debian() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

has_native_asterisk() {
    [ -e /usr/include/asterisk.h ] && [ -x /usr/sbin/asterisk ] && [[ $(/usr/sbin/asterisk -V 2>/dev/null) == "Asterisk "*22.* ]]
}

missing_packages() {
    local have package
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    for package in "$@"; do
        [[ $'\n'$have$'\n' == *$'\n'"$package installed"$'\n'* ]] || echo "$package"
    done
}

install_packages() {
    local missing
    missing=$(missing_packages "$@" | xargs)
    [ -n "$missing" ] || return 0
    need_root "Installing $missing"
    if is_interrupted; then
        step "Finishing an installation of packages that was interrupted" finish_interrupted ||
            say "  (going on, should that have been another one at work)"
    fi
    step "Reading the package lists" apt update || say "  (going on with the lists that are there)"
    step "Installing $missing" apt install -y --no-install-recommends $missing ||
        die "the packages could not be installed." \
            "Is there a network, and does 'apt-get update' work by itself? Then run this again." \
            "Without a network, install by hand: $missing"
}

host_packages() {
    local wanted=$BUILD_PACKAGES tools="cc pkg-config"
    [ "$1" = build ] || wanted="$wanted $TEST_PACKAGES" tools="$tools sipp baresip espeak-ng setpriv unshare openssl chromium"
    if is_debian; then
        install_packages $wanted
    else
        local tool
        for tool in $tools; do
            command -v "$tool" >/dev/null || die "'$tool' is missing, and this is not a Debian machine." \
                "Install the counterparts of: $wanted"
        done
    fi
}

# The machine's own mirror, from its apt configuration; nothing when it has none.
mirror() {
    [ -n "${RIG_MIRROR:-}" ] && echo "$RIG_MIRROR" && return
    apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 ~ /\/debian\/?$/ && $2 !~ /-/ && $3 == "main" { print $1; exit }'
}

# Two stages, so that the root denies service starts before the first package is configured there.
# Runs in a mount namespace of its own: what debootstrap mounts is gone however this ends.
bootstrap_root() {
    local root=$1
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    export http_proxy
    [ -n "${http_proxy:-}" ] || unset http_proxy
    # "sid" is the script for every release this machine's debootstrap does not know yet.
    unshare --mount bash -euc '
        root=$1 packages=$2 suite=$3
        shift 3
        debootstrap --foreign --variant=minbase --include="$packages" "$suite" "$root" "$@" sid
        printf "#!/bin/sh\nexit 101\n" >"$root/usr/sbin/policy-rc.d"
        chmod 755 "$root/usr/sbin/policy-rc.d"
        DEBIAN_FRONTEND=noninteractive chroot "$root" /debootstrap/debootstrap --second-stage
    ' bash "$root" "${ROOT_PACKAGES// /,}" "$SUITE" "$(mirror)"
}

# Mount points the rig needs, and a lagging mirror's Release file accepted should someone use apt there.
prepare_root() {
    local root=$1
    mkdir -p "$root/etc/ssl/certs" "$root/mnt"
    touch "$root/etc/hosts" "$root/etc/resolv.conf"
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90lagging-mirror"
    rm -rf "$root"/var/cache/apt/archives/*.deb
    test -x "$root/usr/sbin/asterisk" && test -e "$root/usr/include/asterisk.h"
}

# Asterisk's headers only: the root's C library is newer than this machine's.
link_headers() {
    mkdir -p "$1/include"
    ln -sfn ../root/usr/include/asterisk.h "$1/include/asterisk.h"
    ln -sfn ../root/usr/include/asterisk "$1/include/asterisk"
}

build_root() {
    local final=$1 work
    need_root "Building the Asterisk root"
    install_packages debootstrap
    rm -rf "$cache"/.building.*
    work=$(mktemp -d "$cache/.building.XXXXXX")
    chmod 755 "$work"
    trap 'kill $(jobs -p) 2>/dev/null || true; wait || true; rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    step "Building a root filesystem with Asterisk 22 from Debian $SUITE (about a minute)" bootstrap_root "$work/root" ||
        die "the Asterisk root could not be built." \
            "Is the mirror '$(mirror)' reachable, and does it carry Debian $SUITE?" \
            "Another one can be given: RIG_MIRROR=http://…/debian make setup"
    prepare_root "$work/root" || die "the new root has no Asterisk with headers; see $log"
    link_headers "$work"
    find "$cache" -maxdepth 1 -name "asterisk-*" -mtime +7 -exec rm -rf {} +
    mv "$work" "$final"
    trap - EXIT INT TERM
}

# Sets `root` and `include`.
asterisk_root() {
    if has_native_asterisk; then
        root=/ include=/usr/include
        return
    fi
    is_debian || die "this machine has no Asterisk 22 with headers, and is not Debian." \
        "Install Asterisk 22 with its development headers, or work on a Debian 12 (or newer) machine."
    local final
    final=$cache/asterisk-$(echo "$SUITE $ROOT_PACKAGES $ROOT_LAYOUT" | sha256sum | head -c 12)
    root=$final/root include=$final/include
    [ -d "$final" ] && return
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock --nonblock 9 || { say "Another set-up is building the Asterisk root; waiting for it …" && flock 9; }
    [ -d "$final" ] || build_root "$final"
    exec 9>&-
}

# Someone says which Asterisk's headers to build against: then none is looked for.
named_headers() {
    [ -e "$ASTERISK_INCLUDE_DIR/asterisk.h" ] || die "there is no asterisk.h in $ASTERISK_INCLUDE_DIR." \
        "An Asterisk built from source has its headers below its prefix after 'make install-headers' in its sources." \
        "For headers anywhere else: make ASTERISK_INCLUDE_DIR=<folder that holds asterisk.h>"
}

write_env() {
    printf 'ASTERISK_ROOT=%q\nASTERISK_INCLUDE_DIR=%q\n' "$root" "$include" >"$checkout/target/rig.env.$$"
    if cmp -s "$checkout/target/rig.env.$$" "$checkout/target/rig.env"; then
        rm "$checkout/target/rig.env.$$"
    else
        mv "$checkout/target/rig.env.$$" "$checkout/target/rig.env"
    fi
}

mkdir -p "$checkout/target"
: >"$log"
rust
host_packages "${1:-all}"
if [ "${1:-}" = build ] && [ -n "${ASTERISK_INCLUDE_DIR:-}" ]; then
    named_headers
else
    asterisk_root
    write_env
fi
