# Installing Debian's packages, for scripts of bash.

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

# An installation that was killed half-way leaves its journal (named by numbers), with which apt refuses to go on. Another one
# that is at work has it, too.
is_interrupted() { compgen -G '/var/lib/dpkg/updates/[0-9]*' >/dev/null; }

finish_interrupted() { DEBIAN_FRONTEND=noninteractive dpkg --configure -a; }
