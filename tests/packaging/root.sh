# A clean root of Debian's Asterisk, and what is done in it. Part of tests/packaging.sh.

work=$PWD/target/packaging
root=$work/root
modules=/$(cd "$ASTERISK_ROOT" && ls -d usr/lib/*/asterisk/modules)
module=$modules/res_ai_bridge.so
sum=$(sed -n 's/^#define AST_BUILDOPT_SUM "\(.*\)"/\1/p' "$ASTERISK_INCLUDE_DIR/asterisk/buildopts.h")
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

# A root in which nobody has done anything yet.
clean_root() {
    while mountpoint -q "$root"; do umount --recursive "$root"; done
    while mountpoint -q "$work/upper"; do umount "$work/upper"; done
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
    mount --bind "$PWD" "$root/mnt"
    ip link set lo up
    echo "127.0.0.1 localhost $(hostname) a.root-servers.net" >"$root/etc/hosts"
    [ ! -e "$root$module" ] || failed "the root is not clean: it has $module"
}

# start_asterisk [OPTION...]
start_asterisk() {
    rm -f "$root"/var/log/asterisk/messages*
    chroot "$root" asterisk -f -n -U asterisk -G asterisk "$@" >"$work/console" 2>&1 9>&- &
    asterisk=$!
    local try
    for try in $(seq 150); do
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

# What Asterisk has written since it was started.
asterisk_log() { cat "$work/console" "$root"/var/log/asterisk/messages* 2>/dev/null || true; }

# listens PORT: somebody does, now or soon.
listens() {
    local try
    for try in $(seq 100); do
        if (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.1
    done
    failed "nobody listens on port $1"
}

start_agent() {
    [ -z "${agent:-}" ] || return 0
    target/release/practice-agent >"$work/agent" 2>&1 9>&- &
    agent=$!
    listens 9797
}

end() {
    kill $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
}
trap end EXIT

# A dialplan to call AI() with, and a caller who stays until he is hung up.
add_dialplan() {
    cat >>"$root/etc/asterisk/extensions.conf" <<'END'

[package-test]
exten => ai,1,Answer()
 same => n,AI()
 same => n,Hangup()
exten => caller,1,Answer()
 same => n,Wait(120)
 same => n,Hangup()
END
}

ended() { cli 'ai show stats' | sed -n 's/.*Ended  *HANGUP \([0-9]*\).*/\1/p'; }

begin_call() {
    start_agent
    before=$(ended)
    cli "channel originate Local/$1 extension caller@package-test" >/dev/null
    local try
    for try in $(seq 50); do [[ $(cli 'ai show sessions') != *talking* ]] || break; sleep 0.1; done
    has "talking" "ai show sessions during a call to $1" "$(cli 'ai show sessions')"
    sleep 1.5
}

finish_call() {
    local try stats
    cli 'channel request hangup all' >/dev/null
    for try in $(seq 50); do [ "$(ended)" != $((${before:-0} + 1)) ] || break; sleep 0.1; done
    stats=$(cli 'ai show stats')
    [ "$(ended)" = $((${before:-0} + 1)) ] && [[ $stats == *"AI to phone    p50"* ]] || failed "no conversation" "$stats" "$(asterisk_log)"
    passed "a conversation with the practice agent"
}

# talk [EXTENSION@CONTEXT]
talk() {
    begin_call "${1:-ai@package-test}"
    finish_call
}
