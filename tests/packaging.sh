#!/bin/bash
# The module where people install it, in a clean root of Debian's Asterisk: the Debian package; an Asterisk that loads all
# its modules, and the layout of FreePBX; `make install` and `make uninstall` in every layout. The shell lines of
# docs/installing.md are run as they stand there. Needs root: mounts and a network of its own, so nothing of this machine
# is changed and no port is taken.
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

for part in root documented package everything install; do . "tests/packaging/$part.sh"; done

clean_root
install_package
use_package
update_package
refuse_other_options
remove_package
clean_root
load_everything
behave_as_on_freepbx
clean_root
say_what_is_missing
install_from_source
install_into_prefix
keep_out_of_other_options
keep_out_of_other_versions
all_lines_were_run
echo "packaging: $passed passed, 0 failed"
