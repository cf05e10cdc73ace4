# `make install` and `make uninstall` in the layouts that exist, and what they refuse. Part of tests/packaging.sh.

# make_fails TEXT WITH PATH [VARIABLE=VALUE]: and says what to do.
make_fails() {
    local said
    if said=$(PATH=$3 make ${4:-} 2>&1); then failed "make goes on $2" "$said"; fi
    has "$1" "make $2" "$said"
}

say_what_is_missing() {
    local old=$work/old
    mkdir -p "$old"
    printf '#!/bin/sh\necho rustc 1.63.0\n' | tee "$old/rustc" >"$old/cargo"
    chmod 755 "$old/rustc" "$old/cargo"
    make_fails "Rust 1.63.0 is too old" "with Debian 12's Rust" "$old:$PATH"
    make_fails "no Rust toolchain on PATH" "without Rust" /usr/bin:/bin
    make_fails "make install-headers" "with the headers of an Asterisk that has none" "$PATH" PREFIX=/nowhere
}

# Named directories, and no DESTDIR: as on a machine that this Asterisk belongs to.
at=("MODULE_DIR=$root$modules" "CONFIG_DIR=$root/etc/asterisk" "DATA_DIR=$root/usr/share/asterisk")

# As an administrator does on this machine, beside an Asterisk that runs. With DESTDIR that one says where things belong.
install_from_source() {
    stand_in_for_the_machine
    add_dialplan
    start_asterisk
    documented 'make && make install' "${at[@]}"
    documented "asterisk -rx 'module load res_ai_bridge.so'"
    has "Loaded res_ai_bridge.so" "module load" "$said"
    has "holds a conversation" "core show application AI" "$(cli 'core show application AI' | tr 'H' 'h' | tr -s ' \n' ' ')"
    [ "$(inside stat -c '%G %a' /etc/asterisk/ai_bridge.conf)" = "asterisk 640" ] ||
        failed "ai_bridge.conf is not for Asterisk alone" "$(inside ls -l /etc/asterisk/ai_bridge.conf)"
    talk

    # Once more, with what an administrator has written meanwhile.
    echo "$mine" | tee -a "$root/etc/asterisk/ai_bridge.conf" "$root/etc/asterisk/instructions.md" >>"$root/etc/asterisk/ai_bridge.conf.sample"
    documented 'make && make install' DESTDIR="$root"
    has "$mine" "ai_bridge.conf after a second make install" "$(tail -n 1 "$root/etc/asterisk/ai_bridge.conf")"
    has "$mine" "instructions.md after a second make install" "$(tail -n 1 "$root/etc/asterisk/instructions.md")"
    cmp -s asterisk-conf/ai_bridge.conf.sample "$root/etc/asterisk/ai_bridge.conf.sample" || failed "ai_bridge.conf.sample is not new"

    documented "asterisk -rx 'module unload res_ai_bridge.so'"
    has "Unloaded res_ai_bridge.so" "module unload" "$said"
    documented 'make uninstall' DESTDIR="$root"
    has "Your configuration was left" "make uninstall" "$said"
    said=$(find "$root/usr" "$root/etc" -name '*ai_bridge*' ! -path '*/etc/asterisk/ai_bridge.conf')
    [ -z "$said" ] && [ -e "$root/etc/asterisk/ai_bridge.conf" ] || failed "make uninstall takes all but the configuration" "$said"
    passed "make uninstall takes all but the configuration"
    stop_asterisk
}

# An Asterisk that was built from source into a folder of its own, which does not run.
install_into_prefix() {
    local prefix=/opt/asterisk said
    mkdir -p "$root$prefix/sbin" "$root$prefix/etc/asterisk" "$root$prefix/lib/asterisk" "$root$prefix/var"/{lib,spool,log,run}/asterisk
    printf '#!/bin/sh\nexec /usr/sbin/asterisk -C %s/etc/asterisk/asterisk.conf "$@"\n' $prefix >"$root$prefix/sbin/asterisk"
    chmod 755 "$root$prefix/sbin/asterisk"
    cp -a "$root$modules" "$root$prefix/lib/asterisk/modules"
    cp -a "$root/usr/share/asterisk/documentation" "$root$prefix/var/lib/asterisk/"
    cat >"$root$prefix/etc/asterisk/asterisk.conf" <<END
[directories]
astetcdir => $prefix/etc/asterisk
	astmoddir => $prefix/lib/asterisk/modules   ; where modules are
astvarlibdir => $prefix/var/lib/asterisk
astdbdir => $prefix/var/lib/asterisk
astdatadir => $prefix/var/lib/asterisk
astspooldir => $prefix/var/spool/asterisk
astrundir => $prefix/var/run/asterisk
astlogdir => $prefix/var/log/asterisk
END
    printf '[modules]\nload = pbx_config.so\nload = codec_resample.so\nload = res_ai_bridge.so\n' >"$root$prefix/etc/asterisk/modules.conf"
    said=$(inside env PREFIX=$prefix /mnt/packaging/install.sh install 2>&1) || failed "make install PREFIX=" "$said"
    has "$prefix/lib/asterisk/modules" "make install PREFIX=" "$said"
    [ ! -e "$root$module" ] || failed "make install PREFIX= has touched the other Asterisk"
    chroot "$root" $prefix/sbin/asterisk -f -n >"$work/console" 2>&1 9>&- &
    asterisk=$!
    local try
    for try in $(seq 100); do
        said=$(inside $prefix/sbin/asterisk -rx 'core show application AI' 2>/dev/null || true)
        [[ $said != *Synopsis* ]] || break
        sleep 0.2
    done
    has "conversation" "core show application AI below PREFIX" "$said" 
    inside $prefix/sbin/asterisk -rx 'core stop now' >/dev/null
    wait $asterisk || true
    said=$(inside env PREFIX=$prefix /mnt/packaging/install.sh uninstall 2>&1) || failed "make uninstall PREFIX=" "$said"
    [ ! -e "$root$prefix/lib/asterisk/modules/res_ai_bridge.so" ] || failed "make uninstall PREFIX= leaves the module"

    # Without asterisk.conf the usual folders are taken, and what is named counts before all.
    rm "$root$prefix/etc/asterisk/asterisk.conf"
    if said=$(inside env PREFIX=$prefix MODULE_DIR=$prefix/elsewhere /mnt/packaging/install.sh install 2>&1); then
        failed "make install into a folder without modules" "$said"
    fi
    has "no modules of Asterisk in $prefix/elsewhere" "make install into a folder without modules" "$said"
    mkdir "$root$prefix/elsewhere"
    cp "$root$modules/app_dial.so" "$root$prefix/elsewhere/"
    inside env PREFIX=$prefix MODULE_DIR=$prefix/elsewhere /mnt/packaging/install.sh install >/dev/null
    [ -e "$root$prefix/elsewhere/res_ai_bridge.so" ] && [ -e "$root$prefix/var/lib/asterisk/documentation/thirdparty/res_ai_bridge-en_US.xml" ] ||
        failed "MODULE_DIR= and PREFIX= without asterisk.conf" "$(find "$root$prefix" -name '*ai_bridge*')"
    passed "MODULE_DIR= counts before PREFIX="
}

named() { env PATH="$work/bin:$PATH" "${at[@]}" packaging/install.sh install 2>&1; }

keep_out_of_other_options() {
    local said
    cp "$root$modules/app_dial.so" "$work/kept.so"
    sed -i "s/$sum/0${sum:1}/g" "$root$modules/app_dial.so"
    if said=$(named); then failed "make install into an Asterisk with other options" "$said"; fi
    has "Nothing was installed" "make install into an Asterisk with other options" "$said"
    [ ! -e "$root$module" ] || failed "make install has installed what it refuses"
    cp "$work/kept.so" "$root$modules/app_dial.so"
}

# Another version with the same options: only its number is another here, which is all that either side can ask for.
keep_out_of_other_versions() {
    local said version
    named >/dev/null
    version=$(inside asterisk -V)
    version=${version#Asterisk }
    sed -i "s/${version//./\\.}/20${version#22}/g" "$root/usr/sbin/asterisk"
    has "Asterisk 20." "asterisk -V" "$(inside asterisk -V)"
    if said=$(named); then failed "make install into an Asterisk of another version" "$said"; fi
    has "This module is for Asterisk 22, and this is Asterisk 20." "make install into an Asterisk of another version" "$said"
    start_asterisk
    has "this module is for Asterisk 22 and was not loaded, since this is Asterisk 20." "a module in an Asterisk of another version" "$(asterisk_log)"
    has "Running" "the rest of that Asterisk" "$(cli 'module show like app_dial')"
    [[ $(cli 'core show application AI') != *onversation* ]] || failed "AI() is there all the same"
    stop_asterisk
}
