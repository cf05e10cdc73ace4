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
secrets='OPENAI_API_KEY ELEVENLABS_API_KEY AI_API_KEY AI_BRIDGE_TOKEN AI_BRIDGE_WEBHOOK_SECRET SIP_PASSWORD TRUNK_PASSWORD'

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

# kept NAME: a secret of this container's own, the same at every start.
kept() {
    if ! [ -s "$state/$1" ]; then
        (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$state/$1") || die "$state cannot be written"
    fi
    cat "$state/$1"
}

# put FILE SECTION KEY VALUE: gives the key this value in the section, in the place of any it has.
put() {
    VALUE=$(printf %s "$4" | sed 's/;/\\;/g') awk -v section="[$2]" -v key="$3" '
        { name = $0; sub(/[ \t]*=.*/, "", name) }
        inside && name == key { next }
        { print }
        /^\[/ { inside = index($0, section) == 1 }
        inside && /^\[/ && !done { print key " = " ENVIRON["VALUE"]; done = 1 }
        END { exit !done }' "$etc/$1" >"$etc/.new" || die "$1 has no section [$2]"
    mv "$etc/.new" "$etc/$1"
}

choose_profile() {
    if [ -n "$(value AI_PROFILE)" ]; then
        profile=$AI_PROFILE
    elif [ -n "$(value OPENAI_API_KEY)" ]; then
        profile=assistant
    elif [ -n "$(value ELEVENLABS_AGENT_ID)" ]; then
        profile=elevenlabs
    else
        profile=practice
    fi
    case $profile in *[!A-Za-z0-9_-]*) die "AI_PROFILE: only letters, digits, _ and -" ;; esac
    export OPENAI_REALTIME_MODEL="${OPENAI_REALTIME_MODEL:-gpt-realtime-2.1}"
    export OPENAI_REALTIME_VOICE="${OPENAI_REALTIME_VOICE:-alloy}"
    if [ -n "$(value ELEVENLABS_AGENT_ID)" ] && ! grep -q '^\[elevenlabs\]' "$etc/ai_bridge.conf"; then
        cat >>"$etc/ai_bridge.conf" <<'EOF'

[elevenlabs]
dialect = elevenlabs
url = wss://api.elevenlabs.io/v1/convai/conversation
agent_id = ${ENV(ELEVENLABS_AGENT_ID)}
api_key = ${ENV(ELEVENLABS_API_KEY)}
EOF
    fi
    grep -q "^\[$profile\]" "$etc/ai_bridge.conf" || die "AI_PROFILE: ai_bridge.conf has no section [$profile]"
    put ai_bridge.conf general default_profile "$profile"
}

# AI_BRIDGE_<KEY> is a key of [general], AI_<KEY> one of the profile. Asterisk fetches the value, so that no file holds it.
put_settings() {
    put ai_bridge.conf general http_bind "${AI_BRIDGE_HTTP_BIND:-0.0.0.0:9000}"
    put ai_bridge.conf general http_token '${ENV(AI_BRIDGE_TOKEN)}'
    for name in $(env | sed -n 's/^\(AI_[A-Z0-9_]*\)=..*/\1/p'); do
        case $name in
        AI_PROFILE | AI_BRIDGE_TOKEN | AI_BRIDGE_HTTP_BIND) continue ;;
        AI_BRIDGE_*) section=general key=${name#AI_BRIDGE_} ;;
        *) section=$profile key=${name#AI_} ;;
        esac
        for secret in $secrets; do
            if [ "$name" = "${secret}_FILE" ]; then continue 2; fi
        done
        put ai_bridge.conf "$section" "$(echo "$key" | tr '[:upper:]' '[:lower:]')" "\${ENV($name)}"
    done
}

# The well-known passwords of the phones (1001pass) are for phones on this machine. Whoever lets others in gets one that
# nobody knows.
put_phones() {
    case $(value SIP_PASSWORD)/$(value SIP_ADDRESS) in
    /127.* | /::1 | /localhost)
        say "phone 1001 has the password 1001pass: SIP is published on this machine only"
        ;;
    /*)
        SIP_PASSWORD=$(kept sip-password)
        say "phone 1001 has a password of its own: docker exec $(hostname) cat $state/sip-password"
        ;;
    esac
    if [ -n "${SIP_PASSWORD:-}" ]; then
        password=$(printf %s "$SIP_PASSWORD" | sed 's/;/\\;/g') awk '
            /^password = [0-9]+pass$/ { print "password = " ENVIRON["password"]; next } { print }
            ' "$etc/pjsip.conf" >"$etc/.new"
        mv "$etc/.new" "$etc/pjsip.conf"
    fi

    external=$(value EXTERNAL_ADDRESS)
    if [ -z "$external" ] && [ "$(value SIP_ADDRESS)" != 0.0.0.0 ]; then external=$(value SIP_ADDRESS); fi
    if [ -n "$external" ]; then
        put pjsip.conf transport-udp external_media_address "$external"
        put pjsip.conf transport-udp external_signaling_address "$external"
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
    if [ -e "$etc/trunk.sh" ]; then
        sh "$etc/trunk.sh"
    elif [ -n "$(value TRUNK_USER)" ]; then
        die "TRUNK_USER: the folder mounted at /etc/asterisk has no trunk.sh"
    fi
}

configure() {
    umask 077
    for name in VERBOSE DRAIN_S; do
        case $(value "$name") in *[!0-9]*) die "$name: a whole number" ;; esac
    done
    rm -rf "$etc"
    cp -rL /etc/asterisk "$etc"
    chmod -R u+w "$etc"
    sed -i "s|^astetcdir => .*|astetcdir => $etc|; s|^verbose = .*|verbose = ${VERBOSE:-3}|" "$etc/asterisk.conf"
    # Everything that is logged goes to stdout, nothing to files.
    sed -i "/^full *=>/d; s|^console *=>.*|console => notice,warning,error,verbose(${VERBOSE:-3})|" "$etc/logger.conf"
    put logger.conf general queue_log no
    # A container whose AI cannot work is to end and say why, not to take calls.
    sed -i 's/^load = res_ai_bridge.so/require = res_ai_bridge.so/' "$etc/modules.conf"
    choose_profile
    put_settings
    put_phones
    put_tls
    put_trunk
    if [ -z "$(value AI_BRIDGE_TOKEN)" ]; then
        AI_BRIDGE_TOKEN=$(kept api-token)
        export AI_BRIDGE_TOKEN
        say "the control API has a token of its own: docker exec $(hostname) cat $state/api-token"
    fi
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

read_secret_files
configure
if [ "$profile" = practice ]; then practice-agent & fi
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
