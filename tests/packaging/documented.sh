# The shell lines of docs/installing.md, run as they stand there. Part of tests/packaging.sh.

ran=()

# For lines that are run on this machine and mean the root: its Asterisk, its packages.
stand_in_for_the_machine() {
    rm -rf "$work/bin"
    mkdir -p "$work/bin"
    printf '#!/bin/sh\nexec chroot "%s" asterisk "$@"\n' "$root" >"$work/bin/asterisk"
    cat >"$work/bin/apt-get" <<END
#!/bin/bash
for argument; do
    shift
    case \$argument in
    ./*) cp "\$argument" "$root/root/" && argument=/root/\${argument##*/} ;;
    esac
    set -- "\$@" "\$argument"
done
DEBIAN_FRONTEND=noninteractive exec chroot "$root" apt-get -y "\$@"
END
    chmod 755 "$work/bin/asterisk" "$work/bin/apt-get"
}

shell_lines() { awk '/^```/ { shell = !shell && /^```sh$/; next } shell && NF' docs/installing.md; }

# documented LINE [VARIABLE=VALUE...]: does what it says; `said` is what it printed.
documented() {
    local line=$1
    shift
    shell_lines | grep -qxF -- "$line" || failed "docs/installing.md has no line '$line'"
    ran+=("$line")
    said=$(env CARGO_NET_OFFLINE=true PATH="$work/bin:$PATH" "$@" bash -c "$line" 2>&1) ||
        failed "'$line' of docs/installing.md" "$said"
}

# cannot_run LINE: it needs what no test has.
cannot_run() { ran+=("$1"); }

all_lines_were_run() {
    local line
    while read -r line; do
        printf '%s\n' "${ran[@]}" | grep -qxF -- "$line" || failed "docs/installing.md has a line that no test runs: $line"
    done < <(shell_lines)
    passed "every shell line of docs/installing.md was run"
}
