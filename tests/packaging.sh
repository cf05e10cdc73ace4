#!/bin/bash
# The Debian package in a clean root of Debian's Asterisk: installed by apt, loaded, used for a conversation, refused
# where it does not fit, removed, purged. Then `make install` and `make uninstall`. Needs root: mounts and a network of
# its own, so nothing of this machine is changed and no port is taken.
#
#   tests/packaging.sh        (by way of `make package-test`)
set -euo pipefail
cd "$(dirname "$0")/.."
. target/rig.env

if [ "${1:-}" != inside ]; then
    if [ "$ASTERISK_ROOT" = / ]; then
        echo "skipped: this machine's own Asterisk is the rig's; there is no clean root to install the package into"
        exit 0
    fi
    mkdir -p target/packaging
    exec unshare --mount --net --propagation private -- "$0" inside
fi

work=$PWD/target/packaging
root=$work/root
modules=$(cd "$ASTERISK_ROOT" && ls -d usr/lib/*/asterisk/modules)
module=/$modules/res_ai_bridge.so
passed=0

passed() {
    passed=$((passed + 1))
    echo "ok: $*"
}

failed() {
    echo "FAILED: $1" >&2
    shift
    printf '%s\n' "$@" | tail -n 40 >&2
    exit 1
}

# has TEXT WHERE WHAT: WHAT contains TEXT.
has() { [[ $3 == *"$1"* ]] && passed "$2: $1" || failed "$2 without '$1'" "$3"; }

inside() { DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
cli() { inside asterisk -rx "$1"; }

clean_root() {
    rm -rf "$work/upper" "$work/overlay" "$work/other"
    mkdir -p "$root" "$work/upper" "$work/overlay"
    # The kernel wants both of these on a file system that is no overlay itself: in a container a tmpfs is one.
    if ! mount -t overlay overlay -o "lowerdir=$ASTERISK_ROOT,upperdir=$work/upper,workdir=$work/overlay" "$root" 2>/dev/null; then
        mount -t tmpfs tmpfs "$work/upper"
        mkdir "$work/upper/files" "$work/upper/work"
        mount -t overlay overlay -o "lowerdir=$ASTERISK_ROOT,upperdir=$work/upper/files,workdir=$work/upper/work" "$root"
    fi
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    ip link set lo up
    echo "127.0.0.1 localhost $(hostname) a.root-servers.net" >"$root/etc/hosts"
    [ ! -e "$root$module" ] || failed "the root is not clean: it has $module"
}

start_asterisk() {
    chroot "$root" asterisk -f -n -U asterisk -G asterisk >"$work/console" 2>&1 9>&- &
    asterisk=$!
    local try
    for try in $(seq 100); do
        if cli 'core waitfullybooted' 2>/dev/null | grep -q 'fully booted'; then return; fi
        kill -0 $asterisk 2>/dev/null || break
        sleep 0.2
    done
    failed "Asterisk does not start" "$(cat "$work/console")"
}

stop_asterisk() {
    cli 'core stop now' >/dev/null || true
    wait $asterisk || true
}

end() {
    kill $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
}
trap end EXIT

talk() {
    cat >>"$root/etc/asterisk/extensions.conf" <<'EOF'

[package-test]
exten => ai,1,Answer()
 same => n,AI()
 same => n,Hangup()
exten => caller,1,Answer()
 same => n,Wait(3)
 same => n,Hangup()
EOF
    target/release/practice-agent >"$work/agent" 2>&1 &
    cli 'dialplan reload' >/dev/null
    cli 'channel originate Local/ai@package-test extension caller@package-test' >/dev/null
    sleep 1.5
    has "talking" "ai show sessions during a call" "$(cli 'ai show sessions')"
    sleep 3
    local stats
    stats=$(cli 'ai show stats')
    [[ $stats =~ Ended\ +HANGUP\ 1 && $stats =~ "AI to phone    p50" ]] && passed "a conversation with the practice agent" || failed "no conversation" "$stats"
}

install_package() {
    cp target/deb/*.deb "$root/root/package.deb"
    # What it depends on is there already: no mirror is needed.
    local said
    said=$(inside apt-get install -y /root/package.deb 2>&1) || failed "apt does not install the package" "$said"
    passed "apt installs $(basename target/deb/*.deb)"
    [ "$(inside stat -c '%U:%G %a' /etc/asterisk/ai_bridge.conf)" = "root:asterisk 640" ] ||
        failed "ai_bridge.conf can be read by others" "$(inside ls -l /etc/asterisk/ai_bridge.conf)"
    passed "ai_bridge.conf is for Asterisk to read, and for nobody else"
}

use_package() {
    start_asterisk
    has "Running" "module show" "$(cli 'module show like res_ai_bridge')"
    has "holds a conversation" "core show application AI" "$(cli 'core show application AI' | tr 'H' 'h' | tr -s ' \n' ' ')"
    talk
    stop_asterisk
}

# What Asterisk says of a module with other options, and what the package's dependency makes of it.
refuse_other_options() {
    local sum
    sum=$(sed -n 's/^#define AST_BUILDOPT_SUM "\(.*\)"/\1/p' "$ASTERISK_INCLUDE_DIR/asterisk/buildopts.h")
    cp "$root$module" "$work/kept.so"
    sed -i "s/$sum/0${sum:1}/g" "$root$module"
    start_asterisk
    has "was not compiled with the same compile-time options" "Asterisk about a module with other options" "$(cat "$work/console" "$root"/var/log/asterisk/messages* 2>/dev/null)"
    stop_asterisk
    cp "$work/kept.so" "$root$module"

    mkdir "$work/other"
    dpkg-deb -R target/deb/*.deb "$work/other/tree"
    sed -i "s/asterisk-abi-$sum/asterisk-abi-0${sum:1}/; s/^Package: .*/Package: other/" "$work/other/tree/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/other/tree" "$root/root/other.deb" >/dev/null
    local said
    if said=$(inside apt-get install -y /root/other.deb 2>&1); then failed "apt installs a package for another Asterisk" "$said"; fi
    has "asterisk-abi-0${sum:1}" "apt about a package for another Asterisk" "$said"
    rm -r "$work/other"
}

remove_package() {
    echo '; mine' >>"$root/etc/asterisk/ai_bridge.conf"
    inside apt-get install -y --reinstall /root/package.deb >/dev/null 2>&1 || failed "apt does not install it again"
    has "; mine" "ai_bridge.conf after an update" "$(tail -n 1 "$root/etc/asterisk/ai_bridge.conf")"
    inside apt-get remove -y res-ai-bridge >/dev/null 2>&1 || failed "apt does not remove it"
    [ ! -e "$root$module" ] && [ -e "$root/etc/asterisk/ai_bridge.conf" ] || failed "remove takes the module and leaves the configuration"
    passed "removed; the configuration is left"
    inside apt-get purge -y res-ai-bridge >/dev/null 2>&1 || failed "apt does not purge it"
    local left
    left=$(find "$root/usr" "$root/etc" "$root/var/lib/dpkg/info" \( -name '*ai_bridge*' -o -name '*res-ai-bridge*' \) -print)
    [ -z "$left" ] && passed "purged; nothing is left" || failed "left after purge" "$left"
    start_asterisk
    has "0 modules loaded" "module show without the package" "$(cli 'module show like res_ai_bridge')"
    stop_asterisk
}

# As an administrator would on this machine, with the directories of the root.
make_install() {
    local at said
    at=("MODULE_DIR=$root/$modules" "CONFIG_DIR=$root/etc/asterisk" "DATA_DIR=$root/usr/share/asterisk")
    env "${at[@]}" packaging/install.sh install >/dev/null
    echo '; mine' >>"$root/etc/asterisk/ai_bridge.conf"
    env "${at[@]}" packaging/install.sh install >/dev/null
    has "; mine" "ai_bridge.conf after a second make install" "$(tail -n 1 "$root/etc/asterisk/ai_bridge.conf")"
    start_asterisk
    has "Running" "module show after make install" "$(cli 'module show like res_ai_bridge')"
    stop_asterisk
    env "${at[@]}" packaging/install.sh uninstall >/dev/null
    [ ! -e "$root$module" ] && [ -e "$root/etc/asterisk/ai_bridge.conf" ] || failed "make uninstall takes the module and leaves the configuration"
    passed "make uninstall"

    local sum
    sum=$(sed -n 's/^#define AST_BUILDOPT_SUM "\(.*\)"/\1/p' "$ASTERISK_INCLUDE_DIR/asterisk/buildopts.h")
    sed -i "s/$sum/0${sum:1}/g" "$root/$modules/app_dial.so"
    if said=$(env "${at[@]}" packaging/install.sh install 2>&1); then failed "make install into an Asterisk with other options" "$said"; fi
    has "Nothing was installed" "make install into an Asterisk with other options" "$said"
    [ ! -e "$root$module" ] || failed "make install has installed what it refuses"
}

clean_root
install_package
use_package
refuse_other_options
remove_package
make_install
echo "packaging: $passed passed, 0 failed"
