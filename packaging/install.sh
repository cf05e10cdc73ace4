#!/bin/bash
# Puts the module into this machine's Asterisk, or takes it out again.
#
#   packaging/install.sh install|uninstall
#
# Where things belong is asked of Asterisk: the running one, else its asterisk.conf, else where distributions put them.
# MODULE_DIR, CONFIG_DIR and DATA_DIR say otherwise; PREFIX names an Asterisk built from source (/opt/asterisk); DESTDIR
# stands before every path, for packages.
set -euo pipefail
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-} DESTDIR=${DESTDIR:-}
if [ "$PREFIX" = /usr ]; then PREFIX=; fi # where distributions put it, with /etc and /var outside
BUILT=target/release/libres_ai_bridge.so
HELP=res_ai_bridge-en_US.xml
VERSION=22 # of Asterisk: another one's structures are laid out differently

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# running COMMAND: what the running Asterisk answers, if one runs.
running() { "${PREFIX:+$PREFIX/sbin/}asterisk" -rx "$1" 2>/dev/null; }

# asterisk_says LINE: a directory, from `core show settings`.
asterisk_says() { running 'core show settings' | sed -n "s/^ *$1: *//p"; }

# directory LINE KEY FOLDER...: the first that is known.
directory() {
    local found
    found=$(asterisk_says "$1" || true)
    [ -n "$found" ] || found=$(sed -n "s/^[[:blank:]]*$2[[:blank:]]*=>*[[:blank:]]*//; T; s/[[:blank:]]*\(;.*\)*\$//; p" \
        "$PREFIX/etc/asterisk/asterisk.conf" 2>/dev/null | tail -n 1 || true)
    shift 2
    [ -n "$found" ] || found=$(ls -d "$@" 2>/dev/null | head -n 1 || true)
    printf %s "$found"
}

find_directories() {
    MODULE_DIR=${MODULE_DIR:-$(directory 'Module directory' astmoddir "$PREFIX"/usr/lib/*/asterisk/modules \
        "$PREFIX"/usr/lib64/asterisk/modules "$PREFIX"/usr/lib/asterisk/modules "$PREFIX"/lib/asterisk/modules)}
    CONFIG_DIR=${CONFIG_DIR:-$(directory 'Configuration directory' astetcdir "$PREFIX/etc/asterisk")}
    DATA_DIR=${DATA_DIR:-$(directory 'Data directory' astdatadir "$PREFIX/usr/share/asterisk" "$PREFIX/var/lib/asterisk")}
    [ -n "$MODULE_DIR" ] && [ -n "$CONFIG_DIR" ] && [ -n "$DATA_DIR" ] || die \
        "No Asterisk was found. Say where it is: make $1 MODULE_DIR=… CONFIG_DIR=… DATA_DIR=…" \
        "(an Asterisk built from source with --prefix: PREFIX=…)"
}

# sums FILE...: what Asterisk compares at load, a digest of the options it was built with.
sums() { LC_ALL=C grep -haoE '(^|[^0-9a-f])[0-9a-f]{32}($|[^0-9a-f])' "$@" | LC_ALL=C grep -oaE '[0-9a-f]{32}' | sort -u; }

# Asterisk would say "not compiled with the same compile-time options" at load, and not what to do; and it does not notice
# another version at all. So both are looked at before anything is copied.
check_fit() {
    local installed neighbour
    installed=$("${PREFIX:+$PREFIX/sbin/}asterisk" -V 2>/dev/null || true)
    # Its first number: "Asterisk 22.10.1", "GIT-22-5e3a", "certified-22.8-cert1". One that does not tell is believed.
    if [ -z "$DESTDIR" ] && [[ $installed =~ [0-9]+ ]] && [ "${BASH_REMATCH[0]}" != "$VERSION" ]; then
        die "This module is for Asterisk $VERSION, and this is $installed. Nothing was installed." \
            "Update Asterisk to $VERSION first; a module never fits another version."
    fi
    neighbour=$DESTDIR$MODULE_DIR/app_dial.so # every Asterisk has it
    if ! [ -e "$neighbour" ]; then
        # A package's tree has none, and a link may lead somewhere in another root.
        if [ -n "$DESTDIR" ] || [ -L "$neighbour" ]; then return 0; fi
        die "There are no modules of Asterisk in $MODULE_DIR (no app_dial.so). Nothing was installed." \
            "Say where they are: make install MODULE_DIR=…"
    fi
    [ -z "$(comm -12 <(sums "$BUILT") <(sums "$neighbour"))" ] || return 0
    die "The module was built against headers of an Asterisk with other build options than the one whose modules are in" \
        "$DESTDIR$MODULE_DIR: it would refuse to load it. Nothing was installed. Install the headers of that Asterisk" \
        "(Debian: asterisk-dev; built from source: 'make install-headers' there puts them below its prefix), then:" \
        "  make clean && make install ASTERISK_INCLUDE_DIR=<folder that holds asterisk.h>"
}

# The group that Asterisk runs in: its folder of configurations has it, or it is called as usual.
asterisk_group() {
    local group
    group=$(stat -c %g "$DESTDIR$CONFIG_DIR")
    if [ "$group" = 0 ] && getent group asterisk >/dev/null; then group=asterisk; fi
    echo "$group"
}

install_all() {
    [ -e "$BUILT" ] || die "There is no $BUILT yet: run 'make' first, as a user who has Rust."
    check_fit
    # By way of a new file: Asterisk may have the old one mapped.
    install -D -m 755 "$BUILT" "$DESTDIR$MODULE_DIR/.res_ai_bridge.so.new"
    mv "$DESTDIR$MODULE_DIR/.res_ai_bridge.so.new" "$DESTDIR$MODULE_DIR/res_ai_bridge.so"
    install -D -m 644 "res_ai_bridge/$HELP" -t "$DESTDIR$DATA_DIR/documentation/thirdparty"
    install -D -m 644 asterisk-conf/ai_bridge.conf.sample -t "$DESTDIR$CONFIG_DIR"
    local file
    for file in ai_bridge.conf instructions.md; do
        [ ! -e "$DESTDIR$CONFIG_DIR/$file" ] || continue
        # It may hold keys: for Asterisk to read, and for nobody else.
        install -m 640 "asterisk-conf/$file" "$DESTDIR$CONFIG_DIR/"
        chgrp "$(asterisk_group)" "$DESTDIR$CONFIG_DIR/$file"
    done
    [ -z "$DESTDIR" ] || return 0
    # Asterisk reads help texts at its start, and gives a module those that it has when that is loaded.
    running 'xmldoc reload' >/dev/null || true
    echo "Installed in $MODULE_DIR. Now: asterisk -rx 'module load res_ai_bridge.so'"
    echo "After an update restart Asterisk: the old module stays in memory until then."
}

uninstall_all() {
    rm -f "$DESTDIR$MODULE_DIR/res_ai_bridge.so" "$DESTDIR$DATA_DIR/documentation/thirdparty/$HELP" \
        "$DESTDIR$CONFIG_DIR/ai_bridge.conf.sample"
    echo "Removed from $DESTDIR$MODULE_DIR. An Asterisk that runs has it in memory until it is restarted."
    local file
    for file in ai_bridge.conf instructions.md; do
        [ ! -e "$DESTDIR$CONFIG_DIR/$file" ] || echo "Your configuration was left: $DESTDIR$CONFIG_DIR/$file"
    done
}

case ${1:-} in
install | uninstall)
    find_directories "$1"
    "$1_all"
    ;;
*) die "packaging/install.sh install|uninstall" ;;
esac
