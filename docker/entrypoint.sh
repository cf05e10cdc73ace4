#!/bin/sh
# Runs Asterisk until the container is stopped, and the practice agent beside it while no provider's account is given.
#
#   /etc/asterisk ──────────────┐
#   environment, secret files ──┴─► /run/asterisk/etc ──► asterisk ──► log on stdout
#
# docs/docker.md explains every variable.
set -eu

etc=/run/asterisk/etc
state=/var/lib/asterisk
stopping=
secrets='OPENAI_API_KEY ELEVENLABS_API_KEY SONIOX_API_KEY OPENROUTER_API_KEY AI_API_KEY AI_BRIDGE_TOKEN
    AI_BRIDGE_WEBHOOK_SECRET SIP_PASSWORD TRUNK_PASSWORD'
practice=127.0.0.1:9797
newline='
'

say() { printf 'container: %s\n' "$*"; }

die() {
    printf 'container: %s\n' "$*" >&2
    exit 1
}

# value NAME: the variable's value, or nothing.
value() { printenv "$1" || true; }

# Secrets may come in files: NAME_FILE names one.
read_secret_files() {
    for name in $secrets; do
        file=$(value "${name}_FILE")
        [ -n "$file" ] || continue
        [ -z "$(value "$name")" ] || die "both $name and ${name}_FILE are set; give one of them"
        [ -r "$file" ] || die "${name}_FILE: $file cannot be read by user $(id -u)"
        export "$name=$(cat "$file")"
    done
}

# A line break in a value would begin a line of configuration that nobody has written.
check_lines() {
    for name in $(variables); do
        case $name/$(value "$name") in
        SIP_*/*"$newline"* | TRUNK_*/*"$newline"* | EXTERNAL_ADDRESS/*"$newline"* | OPENROUTER_MODEL/*"$newline"*)
            die "$name: one line, not several"
            ;;
        esac
    done
}

# variables: the names of all that are set to something.
variables() { env -0 | tr '\n\0' ' \n' | sed -n 's/^\([A-Z0-9_]*\)=..*/\1/p'; }

# kept NAME: a secret of this container's own, the same at every start.
kept() {
    if ! [ -s "$state/$1" ]; then
        (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$state/$1") || die "$state cannot be written"
    fi
    cat "$state/$1"
}

has_section() { grep -q "^\[$2\]" "$etc/$1"; }

# get FILE SECTION KEY: its value, or nothing.
get() {
    awk -v section="[$2]" -v key="$3" '
        { name = $0; gsub(/^[ \t]+|[ \t]*=.*/, "", name) }
        /^\[/ { inside = index($0, section) == 1 }
        inside && name == key { value = $0; sub(/^[^=]*=>?[ \t]*/, "", value); sub(/[ \t]*;.*/, "", value) }
        END { print value }' "$etc/$1"
}

# put FILE SECTION KEY VALUE: gives the key this value in the section, in the place of any it has.
put() {
    VALUE=$(printf %s "$4" | sed 's/;/\\;/g') awk -v section="[$2]" -v key="$3" '
        { name = $0; gsub(/^[ \t]+|[ \t]*=.*/, "", name) }
        inside && name == key { next }
        { print }
        /^\[/ { inside = index($0, section) == 1 }
        inside && /^\[/ && !done { print key " = " ENVIRON["VALUE"]; done = 1 }
        END { exit !done }' "$etc/$1" >"$etc/.new" || die "$1 has no section [$2]"
    mv "$etc/.new" "$etc/$1"
}

# Who answers: who is named, by the environment or by a configuration of one's own; else by the accounts there are.
choose_profile() {
    profile=$(value AI_PROFILE)
    [ -n "$profile" ] || profile=$(get ai_bridge.conf general default_profile)
    if [ "$profile" = practice ] && [ -z "$(value AI_PROFILE)" ]; then
        if [ -n "$(value OPENAI_API_KEY)" ]; then
            profile=assistant
        elif [ -n "$(value ELEVENLABS_AGENT_ID)" ]; then
            profile=elevenlabs
        fi
    fi
    case $profile in *[!A-Za-z0-9_-]*) die "AI_PROFILE: only letters, digits, _ and -" ;; esac
    export OPENAI_REALTIME_MODEL="${OPENAI_REALTIME_MODEL:-gpt-realtime-2.1}"
    export OPENAI_REALTIME_VOICE="${OPENAI_REALTIME_VOICE:-alloy}"
    if [ -n "$(value ELEVENLABS_AGENT_ID)" ] && ! has_section ai_bridge.conf elevenlabs; then
        cat >>"$etc/ai_bridge.conf" <<'EOF'

[elevenlabs]
dialect = elevenlabs
url = wss://api.elevenlabs.io/v1/convai/conversation
agent_id = ${ENV(ELEVENLABS_AGENT_ID)}
api_key = ${ENV(ELEVENLABS_API_KEY)}
EOF
    fi
    [ -n "$profile" ] || return 0
    has_section ai_bridge.conf "$profile" || die "AI_PROFILE: ai_bridge.conf has no section [$profile]"
    put ai_bridge.conf general default_profile "$profile"
}

# AI_BRIDGE_<KEY> is a key of [general], AI_<KEY> one of the profile. Asterisk fetches the value, so that no file holds it.
put_settings() {
    for name in $(variables); do
        case $name in
        AI_PROFILE | AI_BRIDGE_TOKEN | AI_BRIDGE_HTTP_BIND) continue ;;
        # What Kubernetes sets for every service of the cluster.
        AI_*_PORT | AI_*_PORT_* | AI_*_SERVICE_HOST | AI_*_SERVICE_PORT*) continue ;;
        AI_BRIDGE_*) section=general key=${name#AI_BRIDGE_} ;;
        AI_*) section=$profile key=${name#AI_} ;;
        *) continue ;;
        esac
        for secret in $secrets; do
            if [ "$name" = "${secret}_FILE" ]; then continue 2; fi
        done
        [ -n "$section" ] || die "$name: of which profile? AI_PROFILE names it"
        put ai_bridge.conf "$section" "$(echo "$key" | tr '[:upper:]' '[:lower:]')" "\${ENV($name)}"
    done
}

# The control API: reachable from outside the container, with a token. What a configuration of one's own says remains.
put_api() {
    if [ -n "$(value AI_BRIDGE_HTTP_BIND)" ] || [ -z "$(get ai_bridge.conf general http_bind)" ]; then
        put ai_bridge.conf general http_bind "${AI_BRIDGE_HTTP_BIND:-0.0.0.0:9000}"
    fi
    if [ -z "$(value AI_BRIDGE_TOKEN)" ] && [ -z "$(get ai_bridge.conf general http_token)" ]; then
        AI_BRIDGE_TOKEN=$(kept api-token)
        export AI_BRIDGE_TOKEN
        say "the control API has a token of its own: docker compose exec asterisk cat $state/api-token"
    fi
    if [ -n "$(value AI_BRIDGE_TOKEN)" ]; then
        put ai_bridge.conf general http_token '${ENV(AI_BRIDGE_TOKEN)}'
    fi
    get ai_bridge.conf general http_bind >"$etc/http_bind" # for the health check
}

# The operator's assistant, which is the practice agent until there are accounts.
put_desk() {
    [ -n "$(value SONIOX_API_KEY)" ] || return 0
    # A configuration of one's own is to remain.
    case $(get ai_bridge.conf desk url) in *"$practice"*) ;; *) return 0 ;; esac
    put ai_bridge.conf desk url wss://stt-rt.soniox.com/transcribe-websocket
    put ai_bridge.conf desk api_key '${ENV(SONIOX_API_KEY)}'
    if [ -n "$(value OPENROUTER_API_KEY)" ]; then
        put ai_bridge.conf desk hint_url https://openrouter.ai/api/v1/chat/completions
        put ai_bridge.conf desk hint_model "${OPENROUTER_MODEL:-openai/gpt-5-mini}"
        put ai_bridge.conf desk hint_api_key '${ENV(OPENROUTER_API_KEY)}'
    else
        put ai_bridge.conf desk hint_url no
        say "calls to the operator are written down; hints take an OPENROUTER_API_KEY"
    fi
}

is_loopback() { case $1 in 127.* | ::1 | localhost) true ;; *) false ;; esac; }

# The well-known passwords of the phones (1001pass) are for phones on this machine. Whoever lets others in gets one that
# nobody knows.
put_passwords() {
    known='^[[:blank:]]*password[[:blank:]]*=>?[[:blank:]]*[0-9]+pass[[:blank:]]*(;.*)?$'
    if ! grep -Eq "$known" "$etc/pjsip.conf"; then
        [ -z "$(value SIP_PASSWORD)" ] || die "SIP_PASSWORD: pjsip.conf has no password like 1001pass, which it would replace"
        return
    fi
    if [ -z "$(value SIP_PASSWORD)" ]; then
        if is_loopback "$(value SIP_ADDRESS)" && is_loopback "${SIP_BIND:-localhost}"; then
            say "phone 1001 has the password 1001pass: SIP is published on this machine only"
            return
        fi
        SIP_PASSWORD=$(kept sip-password)
        say "phone 1001 has a password of its own: docker compose exec asterisk cat $state/sip-password"
    fi
    password=$(printf %s "$SIP_PASSWORD" | sed 's/;/\\;/g') known=$known awk '
        $0 ~ ENVIRON["known"] { print "password = " ENVIRON["password"]; next } { print }
        ' "$etc/pjsip.conf" >"$etc/.new"
    mv "$etc/.new" "$etc/pjsip.conf"
}

# Where Asterisk listens, and which address it tells the others.
put_addresses() {
    external=$(value EXTERNAL_ADDRESS)
    if [ -z "$external" ] && [ "$(value SIP_ADDRESS)" != 0.0.0.0 ]; then external=$(value SIP_ADDRESS); fi
    if [ -n "$external" ]; then
        put pjsip.conf transport-udp external_media_address "$external"
        put pjsip.conf transport-udp external_signaling_address "$external"
    else
        say "phones are told this container's own address; if they cannot reach that, set EXTERNAL_ADDRESS"
    fi
    if [ -n "$(value SIP_BIND)" ]; then put pjsip.conf transport-udp bind "$SIP_BIND"; fi
}

# Phones have to encrypt, with the certificate of whoever runs this.
put_tls() {
    case $(value SIP_TLS) in
    '' | no) return 0 ;;
    yes) ;;
    *) die "SIP_TLS: yes or no" ;;
    esac
    for file in tls.crt tls.key; do
        [ -r "/etc/asterisk/$file" ] ||
            die "SIP_TLS: /etc/asterisk/$file cannot be read by user $(id -u); docs/trunks.md has the command that makes it"
    done
    sed -i 's/^;\(#include pjsip_tls.conf\)/\1/' "$etc/pjsip.conf"
    if [ -n "$external" ]; then
        put pjsip_tls.conf transport-tls external_media_address "$external"
        put pjsip_tls.conf transport-tls external_signaling_address "$external"
    fi
    if [ -n "$(value SIP_BIND)" ]; then put pjsip_tls.conf transport-tls bind "${SIP_BIND%:*}:5061"; fi
}

# A SIP trunk that this machine registers with: trunk.sh knows what an account is.
put_trunk() {
    if [ -n "$(value TRUNK_USER)" ] && is_loopback "$external"; then
        say "the provider is told $external, which it cannot reach: set EXTERNAL_ADDRESS to this machine's public address"
    fi
    if [ -e "$etc/trunk.sh" ]; then
        sh "$etc/trunk.sh"
    elif [ -n "$(value TRUNK_USER)" ]; then
        die "TRUNK_USER: the folder mounted at /etc/asterisk has no trunk.sh"
    fi
}

configure() {
    umask 077
    for name in ASTERISK_VERBOSE DRAIN_S; do
        case $(value "$name") in *[!0-9]* | 0?*) die "$name: a whole number" ;; esac
    done
    rm -rf "$etc"
    cp -rL /etc/asterisk "$etc"
    chmod -R u+w "$etc"
    verbose=${ASTERISK_VERBOSE:-3}
    # Debian's module folder is named for the architecture.
    sed -i "s|^astetcdir => .*|astetcdir => $etc|; s|^verbose = .*|verbose = $verbose|
        s|^astmoddir => .*|astmoddir => $(ls -d /usr/lib/*/asterisk/modules)|" "$etc/asterisk.conf"
    # Everything that is logged goes to stdout, nothing to files.
    sed -i "/^full *=>/d; s|^console *=>.*|console => notice,warning,error,verbose($verbose)|" "$etc/logger.conf"
    put logger.conf general queue_log no
    # A container whose AI cannot work is to end and say why, not to take calls.
    sed -i 's/^load = res_ai_bridge.so/require = res_ai_bridge.so/' "$etc/modules.conf"
    choose_profile
    put_settings
    put_api
    put_desk
    put_passwords
    put_addresses
    put_tls
    put_trunk
    # Asterisk has these in its configuration; its children need not have them in their environment.
    unset SIP_PASSWORD TRUNK_PASSWORD
}

# Calls that are up may go on for DRAIN_S, while no new ones are taken; then they are hung up.
stop() {
    trap '' TERM INT
    stopping=yes
    left=${DRAIN_S:-0}
    if [ "$left" -gt 0 ]; then
        say "no new calls; those that are up have $left s"
        asterisk -C "$etc/asterisk.conf" -rx 'core stop gracefully' >/dev/null 2>&1 || true
    fi
    while [ "$left" -gt 0 ] && kill -0 "$pbx" 2>/dev/null; do
        sleep 1
        left=$((left - 1))
    done
    kill -TERM "$pbx" 2>/dev/null || true
}

# Ends with the container, not before.
practice() {
    while true; do
        practice-agent || true
        say "the practice agent has ended; it starts again"
        sleep 2
    done
}

read_secret_files
check_lines
configure
if grep -q "^[^;]*$practice" "$etc/ai_bridge.conf"; then practice & fi
say "Asterisk starts; calls talk to the profile [$profile]"
asterisk -f -T -n -C "$etc/asterisk.conf" &
pbx=$!
trap stop TERM INT
status=0
wait "$pbx" || status=$?
# A signal ends the first `wait` before Asterisk has ended.
if [ -n "$stopping" ]; then
    status=0
    wait "$pbx" || status=$?
fi
exit "$status"
