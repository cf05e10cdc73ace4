#!/bin/bash
# A Debian package of the module for the Asterisk it was built against: target/deb/res-ai-bridge_<version>_<architecture>.deb
# DEBFULLNAME and DEBEMAIL say whose it is, as in Debian's own tools.
#
# Asterisk's own package provides asterisk-abi-<sum>, the digest of build options that Asterisk compares when it loads a
# module; this one depends on it, so that apt refuses what Asterisk would. The libraries are looked up where the package
# will live, in the root that set-up has found or built.
set -euo pipefail
umask 022 # whatever that of whoever builds it
cd "$(dirname "$0")/.."
[ -e target/rig.env ] || { echo "The package is for Debian's Asterisk: 'make deb' without PREFIX and ASTERISK_INCLUDE_DIR." >&2; exit 1; }
. target/rig.env

NAME=res-ai-bridge
out=target/deb
tree=$out/tree

in_root() { if [ "$ASTERISK_ROOT" = / ]; then "$@"; else chroot "$ASTERISK_ROOT" "$@"; fi; }

sum=$(sed -n 's/^#define AST_BUILDOPT_SUM "\(.*\)"/\1/p' "$ASTERISK_INCLUDE_DIR/asterisk/buildopts.h")
grep -qF "$sum" target/release/libres_ai_bridge.so || { echo "The module was not built against $ASTERISK_INCLUDE_DIR: make clean deb" >&2; exit 1; }
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)-1
maintainer="${DEBFULLNAME:-Whoever built this} <${DEBEMAIL:-$(id -un)@$(hostname -f 2>/dev/null || hostname)}>"
asterisk=$(in_root dpkg-query -W -f '${Version}' asterisk 2>/dev/null) || {
    echo "This machine's Asterisk is not a Debian package: use 'make install'." >&2
    exit 1
}
major=${asterisk%%.*} # with its epoch, if it has one: 1:22
case $major in *:*) next=${major%:*}:$((${major#*:} + 1)) ;; *) next=$((major + 1)) ;; esac
architecture=$(in_root dpkg --print-architecture)
modules=$(in_root dpkg -L asterisk-modules | grep '/asterisk/modules$')

rm -rf "$out"
mkdir -p "$tree/DEBIAN" "$tree/usr/share/doc/$NAME"
DESTDIR=$PWD/$tree MODULE_DIR=$modules CONFIG_DIR=/etc/asterisk DATA_DIR=/usr/share/asterisk packaging/install.sh install
strip --strip-unneeded "$tree$modules/res_ai_bridge.so"
chmod 644 "$tree$modules/res_ai_bridge.so"
# With everything that they refer to.
for file in README.md $(find docs examples asterisk-conf -type f ! -name '*_trunk.conf' ! -name 'tls.*' ! -name '*.pyc'); do
    install -D -m 644 "$file" "$tree/usr/share/doc/$NAME/$file"
done
gzip -9n <CHANGELOG.md >"$tree/usr/share/doc/$NAME/changelog.gz"
gzip -9n >"$tree/usr/share/doc/$NAME/changelog.Debian.gz" <<EOF
$NAME ($version) unstable; urgency=medium

  * Built for asterisk
    $asterisk.
  * What is new is in changelog.gz.

 -- $maintainer  $(date -R)
EOF
install -d "$tree/usr/share/lintian/overrides"
cat >"$tree/usr/share/lintian/overrides/$NAME" <<EOF
# They may hold keys and what an agent is told.
$NAME: non-standard-file-perm 0640 != 0644 *etc/asterisk/*
EOF
cat >"$tree/usr/share/doc/$NAME/copyright" <<EOF
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: res_ai_bridge

Files: *
Copyright: 2026 the authors of res_ai_bridge
License: GPL-2 with additional permission
$(sed -n '/^## Licence/,$p' README.md | sed '1,2d; s/^$/./; s/^/ /')
 .
 The text of the GPL 2 is in /usr/share/common-licenses/GPL-2.
EOF

# Which packages have the libraries that the module names, and which versions of them.
work=$ASTERISK_ROOT/tmp/deb.$$
mkdir -p "$work/debian"
trap 'rm -rf "$work"' EXIT
cp "$tree$modules/res_ai_bridge.so" "$work/"
printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' $NAME $NAME >"$work/debian/control"
libraries=$(in_root sh -c "cd /tmp/deb.$$ && dpkg-shlibdeps -O --ignore-missing-info res_ai_bridge.so 2>/dev/null" | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || { echo "dpkg-shlibdeps found no libraries" >&2; exit 1; }

cat >"$tree/DEBIAN/control" <<EOF
Package: $NAME
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f 1)
Depends: asterisk-abi-$sum, asterisk (>= $major), asterisk (<< $next), ca-certificates, $libraries
Section: comm
Priority: optional
Description: realtime voice AI in the dialplan of Asterisk
 A module for Asterisk with the dialplan application AI(), which connects a
 call to a realtime voice AI (OpenAI Realtime, ElevenLabs Agents, Gemini Live,
 Deepgram, or a bot of your own) inside Asterisk's own process.
EOF
printf '/etc/asterisk/%s\n' ai_bridge.conf ai_bridge.conf.sample instructions.md >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    # They may hold keys and what an agent is told: for Asterisk to read, and for nobody else, unless an administrator has
    # thought otherwise since the first time.
    [ -n "$2" ] || for file in ai_bridge.conf instructions.md; do
        if [ -e "/etc/asterisk/$file" ]; then
            chgrp asterisk "/etc/asterisk/$file"
            chmod 640 "/etc/asterisk/$file"
        fi
    done
    # Asterisk reads help texts at its start, and gives a module those that it has when that is loaded.
    asterisk -rx 'xmldoc reload' >/dev/null 2>&1 || true
    if [ -n "$2" ]; then echo "res-ai-bridge: restart Asterisk; the old module stays in memory until then."; fi
fi
EOF
cat >"$tree/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
# Refused while calls are up, and without effect when Asterisk does not run.
if [ "$1" = remove ]; then asterisk -rx 'module unload res_ai_bridge.so' >/dev/null 2>&1 || true; fi
EOF
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/${NAME}_${version}_$architecture.deb"
rm -rf "$tree"
