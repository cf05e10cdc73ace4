# The Debian package: installed by apt, used, updated in mid-call, refused where it does not fit, removed, purged. Part of
# tests/packaging.sh.

mine="; this line is the administrator's"

install_package() {
    stand_in_for_the_machine
    # Whatever others may read of what this user writes.
    umask 077
    documented 'make deb'
    umask 022
    # What it depends on is there already: no mirror is needed.
    documented 'apt-get install ./target/deb/res-ai-bridge_*.deb'
    passed "apt installs $(basename target/deb/*.deb)"
    [ "$(inside stat -c '%U:%G %a' /etc/asterisk/ai_bridge.conf)" = "root:asterisk 640" ] ||
        failed "ai_bridge.conf can be read by others" "$(inside ls -l /etc/asterisk/ai_bridge.conf)"
    passed "ai_bridge.conf is for Asterisk to read, and for nobody else"
}

use_package() {
    add_dialplan
    start_asterisk
    has "Running" "module show" "$(cli 'module show like res_ai_bridge')"
    has "holds a conversation" "core show application AI" "$(cli 'core show application AI' | tr 'H' 'h' | tr -s ' \n' ' ')"
    talk
    stop_asterisk
}

# other_package VERSION SED…: the package with that version and other metadata, as $root/root/other.deb
other_package() {
    local version=$1
    shift
    rm -rf "$work/other"
    dpkg-deb -R target/deb/*.deb "$work/other"
    sed -i "s/^Version: .*/Version: $version/; $*" "$work/other/DEBIAN/control"
    echo "; of version $version" >>"$work/other/etc/asterisk/ai_bridge.conf.sample"
    sed -i '/ai_bridge.conf.sample$/d' "$work/other/DEBIAN/md5sums"
    # The same code in another file, as an update brings.
    echo "version $version" >>"$work/other$module"
    dpkg-deb -Znone --root-owner-group -b "$work/other" "$root/root/other.deb" >/dev/null
    rm -r "$work/other"
}

# The old code goes on, calls and all, until Asterisk is restarted.
update_package() {
    start_asterisk
    echo "$mine" >>"$root/etc/asterisk/ai_bridge.conf"
    begin_call ai@package-test
    other_package 99.0
    local said
    said=$(inside apt-get install -y /root/other.deb 2>&1) || failed "apt does not update the package in mid-call" "$said"
    has "restart Asterisk" "apt about an update" "$said"
    has "talking" "ai show sessions after an update in mid-call" "$(cli 'ai show sessions')"
    grep -q 'res_ai_bridge.so.*(deleted)' "/proc/$asterisk/maps" || failed "the old code is not what runs" "$(grep ai_bridge "/proc/$asterisk/maps")"
    finish_call
    talk
    stop_asterisk
    start_asterisk
    ! grep -q 'res_ai_bridge.so.*(deleted)' "/proc/$asterisk/maps" || failed "the old code runs after a restart"
    talk
    stop_asterisk
    has "$mine" "ai_bridge.conf after an update" "$(tail -n 1 "$root/etc/asterisk/ai_bridge.conf")"
    has "of version 99.0" "ai_bridge.conf.sample after an update" "$(tail -n 1 "$root/etc/asterisk/ai_bridge.conf.sample")"
    [ "$(inside stat -c '%U:%G %a' /etc/asterisk/ai_bridge.conf)" = "root:asterisk 640" ] || failed "the update lets others read ai_bridge.conf"
}

# What Asterisk says of a module with other options, and what the package's dependency makes of it.
refuse_other_options() {
    cp "$root$module" "$work/kept.so"
    local options
    options=$(sed -n 's/^#define AST_BUILDOPTS "\(.*\)"/\1/p' "$ASTERISK_INCLUDE_DIR/asterisk/buildopts.h")
    sed -i "s/$sum/0${sum:1}/g; s/$options/x${options:1}/g" "$root$module"
    start_asterisk
    has "was not compiled with the same compile-time options" "Asterisk about a module with other options" "$(asterisk_log)"
    has "with the options 'x${options:1}', and this one has '$options'. Install the headers" "the module about itself" "$(asterisk_log)"
    stop_asterisk
    cp "$work/kept.so" "$root$module"

    other_package 1 "s/asterisk-abi-$sum/asterisk-abi-0${sum:1}/; s/^Package: .*/Package: other/"
    local said
    if said=$(inside apt-get install -y /root/other.deb 2>&1); then failed "apt installs a package for another Asterisk" "$said"; fi
    has "asterisk-abi-0${sum:1}" "apt about a package for another Asterisk" "$said"
}

remove_package() {
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
