#!/bin/sh
# What the environment and secret files say becomes Asterisk's configuration: read by entrypoint.sh, which then calls `configure`.
#
#   $shipped (/etc/asterisk) ───┐
#   environment, secret files ──┴─► $etc ──► asterisk
#
# $state is where what is made here is kept: passwords, tokens; $modules the folder of Asterisk's modules; $interfaces are
# those of the network, as Linux shows them. docs/docker.md explains every variable.

secrets='OPENAI_API_KEY ELEVENLABS_API_KEY SONIOX_API_KEY OPENROUTER_API_KEY AI_API_KEY AI_BRIDGE_TOKEN
    AI_BRIDGE_WEBHOOK_SECRET SIP_PASSWORD TRUNK_PASSWORD ARI_PASSWORD'
practice=127.0.0.1:9797
# Asterisk cuts the value of a variable there. [bytes]
value_max=4000
newline='
'

say() { printf 'container: %s\n' "$*"; }

die() {
    printf 'container: %s\n' "$*" >&2
    exit 1
}

# value NAME: the variable's value, or nothing.
value() { printenv "$1" || true; }

# variables: the names of all that are set to something.
variables() { env -0 | tr '\n\0' ' \n' | sed -n 's/^\([A-Z0-9_]*\)=..*/\1/p'; }

# Secrets may come in files: NAME_FILE names one.
read_secret_files() {
    for name in $secrets; do
        file=$(value "${name}_FILE")
        [ -n "$file" ] || continue
        [ -z "$(value "$name")" ] || die "both $name and ${name}_FILE are set; give one of them"
        [ -f "$file" ] && [ -r "$file" ] || die "${name}_FILE: $file is no file that user $(id -u) can read"
        secret=$(tr -d '\r' <"$file")
        [ -n "$secret" ] || die "${name}_FILE: $file is empty"
        export "$name=$secret"
    done
}

# What a value must not be, whatever it is for.
check_values() {
    for name in $(variables); do
        case $name in SIP_* | TRUNK_* | ARI_* | AI_* | EXTERNAL_ADDRESS | LOCAL_NET | OPENROUTER_MODEL) ;; *) continue ;; esac
        text=$(value "$name")
        case $text in
        *"$newline"*)
            # A key of a profile is fetched by Asterisk; another value would begin a line that nobody has written.
            case $name in
            AI_BRIDGE_HTTP_BIND) die "$name: one line, not several" ;;
            AI_*) ;;
            *) die "$name: one line, not several" ;;
            esac
            ;;
        ' '* | *' ') case $name in *_PASSWORD) die "$name: Asterisk takes no blank at its beginning or end" ;; esac ;;
        *:[0-9]*) ;;
        *) case $name in SIP_BIND | ARI_BIND) die "$name: address:port" ;; esac ;;
        esac
        [ "$(printf %s "$text" | wc -c)" -le $value_max ] ||
            die "$name: more than $value_max bytes; what is longer goes into a file (instructions_file, docs/docker.md)"
    done
    for name in ASTERISK_VERBOSE DRAIN_S; do
        case $(value "$name") in *[!0-9]* | 0?*) die "$name: a whole number" ;; esac
    done
}

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
        { sub(/\r$/, ""); name = $0; gsub(/^[ \t]+|[ \t]*=.*/, "", name) }
        /^\[/ { inside = index($0, section) == 1 }
        inside && name == key { value = $0; sub(/^[^=]*=>?[ \t]*/, "", value); sub(/[ \t]*;.*/, "", value) }
        END { print value }' "$etc/$1"
}

# add_section FILE SECTION: has it there.
add_section() { has_section "$1" "$2" || printf '\n[%s]\n' "$2" >>"$etc/$1"; }

# put FILE SECTION KEY VALUE: gives the key this value in the section, in the place of any it has.
put() {
    has_section "$1" "$2" || die "$1 has no section [$2]"
    VALUE=$(printf %s "$4" | sed 's/;/\\;/g') awk -v section="[$2]" -v key="$3" '
        { name = $0; gsub(/^[ \t]+|[ \t]*=.*/, "", name) }
        inside && name == key { next }
        { print }
        /^\[/ { inside = index($0, section) == 1 }
        inside && /^\[/ && !done { print key " = " ENVIRON["VALUE"]; done = 1 }' "$etc/$1" >"$etc/.new"
    mv "$etc/.new" "$etc/$1"
}

# include FILE INCLUDED FOR: takes the semicolon away before the line that includes it.
include() {
    sed -i "s/^;[[:space:]]*\(#include $2\)/\1/" "$etc/$1"
    grep -q "^#include $2" "$etc/$1" && [ -e "$etc/$2" ] ||
        die "$3: the folder mounted at /etc/asterisk has no line '#include $2' in $1, or no $2; take both from asterisk-conf/"
}

# Where this copy lies, and not where it is from: Asterisk is to read what is put into it.
put_folders() {
    # The file that Debian ships makes a template of this section, which then is without effect.
    sed -i 's/^\[directories\](!)/[directories]/' "$etc/asterisk.conf"
    add_section asterisk.conf directories
    add_section asterisk.conf options
    add_section logger.conf general
    put asterisk.conf directories astetcdir "$etc"
    put asterisk.conf directories astmoddir "$modules"
    verbose=${ASTERISK_VERBOSE:-3}
    put asterisk.conf options verbose "$verbose"
    # Everything that is logged goes to stdout, nothing to files.
    sed -i "/^full *=>/d; s|^console *=>.*|console => notice,warning,error,verbose($verbose)|" "$etc/logger.conf"
    put logger.conf general queue_log no
    # A container whose AI cannot work is to end and say why, not to take calls.
    sed -i 's/^load = res_ai_bridge.so/require = res_ai_bridge.so/' "$etc/modules.conf"
}

# Who answers: who is named, by the environment or by a configuration of one's own; else by the accounts there are.
choose_profile() {
    named=$(value AI_PROFILE)
    [ -n "$named" ] || named=$(value AI_BRIDGE_DEFAULT_PROFILE)
    profile=${named:-$(get ai_bridge.conf general default_profile)}
    if [ "$profile" = practice ] && [ -z "$named" ]; then
        if [ -n "$(value OPENAI_API_KEY)" ]; then
            profile=assistant
        elif [ -n "$(value ELEVENLABS_AGENT_ID)" ]; then
            profile=elevenlabs
        elif [ -n "$(value ELEVENLABS_API_KEY)" ]; then
            say "ELEVENLABS_API_KEY is without effect: an account has an ELEVENLABS_AGENT_ID, too"
        fi
        if [ "$profile" != practice ]; then named=$profile; fi
    fi
    add_section ai_bridge.conf general
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
    # What a configuration of one's own names may be in another of its files, and an expression.
    [ -n "$named" ] || return 0
    case $named in *[!A-Za-z0-9_-]*) die "AI_PROFILE: only letters, digits, _ and -" ;; esac
    has_section ai_bridge.conf "$named" || die "AI_PROFILE: ai_bridge.conf has no section [$named]"
    put ai_bridge.conf general default_profile "$named"
}

# AI_BRIDGE_<KEY> is a key of [general], AI_<KEY> one of the profile. Asterisk fetches the value, so that no file holds it.
put_settings() {
    for name in $(variables); do
        case $name in
        AI_PROFILE | AI_BRIDGE_DEFAULT_PROFILE | AI_BRIDGE_TOKEN | AI_BRIDGE_HTTP_BIND) continue ;;
        # What Kubernetes sets for every service of the cluster, also for one called "ai".
        AI_PORT | AI_PORT_* | AI_*_PORT | AI_*_PORT_* | AI_SERVICE_HOST | AI_SERVICE_PORT* | AI_*_SERVICE_HOST | AI_*_SERVICE_PORT*) continue ;;
        AI_BRIDGE_*) section=general key=${name#AI_BRIDGE_} ;;
        AI_*) section=$profile key=${name#AI_} ;;
        *) continue ;;
        esac
        for secret in $secrets; do
            if [ "$name" = "${secret}_FILE" ]; then continue 2; fi
        done
        [ -n "$section" ] || die "$name: of which profile? AI_PROFILE names it"
        has_section ai_bridge.conf "$section" || die "$name: ai_bridge.conf has no section [$section] to put it into"
        put ai_bridge.conf "$section" "$(echo "$key" | tr '[:upper:]' '[:lower:]')" "\${ENV($name)}"
        # A profile has one of the two.
        case $name in
        AI_INSTRUCTIONS) other=INSTRUCTIONS_FILE ;;
        AI_INSTRUCTIONS_FILE) other=INSTRUCTIONS ;;
        *) continue ;;
        esac
        [ -z "$(value "AI_$other")" ] || die "both AI_INSTRUCTIONS and AI_INSTRUCTIONS_FILE are set; give one of them"
        put ai_bridge.conf "$section" "$(echo "$other" | tr '[:upper:]' '[:lower:]')" ''
    done
}

is_loopback() { case $1 in 127.* | ::1 | localhost | localhost:* | '[::1]'*) true ;; *) false ;; esac; }

# True on a network that Docker has made for this container: all there is besides loopback are ends of virtual cables. On the
# host's network it is the host's own cards.
is_behind_docker() {
    found=
    for interface in "$interfaces"/*; do
        name=${interface##*/}
        [ "$name" != lo ] && [ -e "$interface/iflink" ] || continue
        found=yes
        if [ "$(cat "$interface/iflink")" = "$(cat "$interface/ifindex")" ]; then return 1; fi
        # That of a cable has no type; those that give a container the host's network in another way have one.
        if grep -qs '^DEVTYPE=' "$interface/uevent"; then return 1; fi
    done
    [ -n "$found" ]
}

# The control API: reachable from outside the container, with a token. What a configuration of one's own says remains.
put_api() {
    bind=$(get ai_bridge.conf general http_bind)
    if [ -n "$(value AI_BRIDGE_HTTP_BIND)" ] || [ -z "$bind" ]; then
        bind=${AI_BRIDGE_HTTP_BIND:-0.0.0.0:9000}
        put ai_bridge.conf general http_bind "$bind"
    elif is_loopback "$bind" && is_behind_docker; then
        say "http_bind = $bind of ai_bridge.conf is inside the container alone: take the line out, or set AI_BRIDGE_HTTP_BIND"
    fi
    if [ -z "$(value AI_BRIDGE_TOKEN)" ] && [ -z "$(get ai_bridge.conf general http_token)" ]; then
        AI_BRIDGE_TOKEN=$(kept api-token)
        export AI_BRIDGE_TOKEN
        say "the control API has a token of its own: docker compose exec asterisk cat $state/api-token"
    fi
    if [ -n "$(value AI_BRIDGE_TOKEN)" ]; then
        put ai_bridge.conf general http_token '${ENV(AI_BRIDGE_TOKEN)}'
    fi
    printf %s "$bind" >"$etc/http_bind" # for the health check
}

# The operator's assistant, which is the practice agent until there are accounts.
put_desk() {
    if [ -z "$(value SONIOX_API_KEY)" ]; then
        [ -z "$(value OPENROUTER_API_KEY)" ] || say "OPENROUTER_API_KEY is without effect: hints take a SONIOX_API_KEY, too"
        return 0
    fi
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

# True if nobody but this machine reaches SIP: published on loopback, or bound to it.
is_sip_private() {
    is_loopback "$(value SIP_ADDRESS)" || return 1
    if [ -n "$(value SIP_BIND)" ]; then is_loopback "$SIP_BIND"; else is_behind_docker; fi
}

# The well-known passwords of the phones (1001pass) are for phones on this machine. Whoever lets others in gets one that
# nobody knows.
put_passwords() {
    known='^[[:space:]]*password[[:space:]]*=>?[[:space:]]*[0-9]+pass[[:space:]]*(;.*)?$'
    if ! grep -Eq "$known" "$etc/pjsip.conf"; then
        [ -z "$(value SIP_PASSWORD)" ] || die "SIP_PASSWORD: pjsip.conf has no password like 1001pass, which it would replace"
        return
    fi
    if [ -z "$(value SIP_PASSWORD)" ]; then
        if is_sip_private; then
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
    [ -n "$external" ] ||
        say "phones are told this container's own address; if they cannot reach that, set EXTERNAL_ADDRESS"
    put_transport pjsip.conf transport-udp "$(value SIP_BIND)"
}

# put_transport FILE SECTION BIND
put_transport() {
    if [ -n "$external" ]; then
        put "$1" "$2" external_media_address "$external"
        put "$1" "$2" external_signaling_address "$external"
    fi
    if [ -n "$(value LOCAL_NET)" ]; then put "$1" "$2" local_net "$LOCAL_NET"; fi
    if [ -n "$3" ]; then put "$1" "$2" bind "$3"; fi
}

# Phones have to encrypt, with the certificate of whoever runs this.
put_tls() {
    case $(value SIP_TLS) in
    '' | no) return 0 ;;
    yes) ;;
    *) die "SIP_TLS: yes or no" ;;
    esac
    for file in tls.crt tls.key; do
        [ -r "$shipped/$file" ] ||
            die "SIP_TLS: /etc/asterisk/$file cannot be read by user $(id -u); docs/trunks.md has the commands that make it"
    done
    include pjsip.conf pjsip_tls.conf SIP_TLS
    put_transport pjsip_tls.conf transport-tls "${SIP_BIND:+${SIP_BIND%:*}:5061}"
}

# A SIP trunk that this machine registers with: trunk.sh knows what an account is. Without any in the environment that of a
# configuration of one's own remains.
put_trunk() {
    # Not the other names that a cluster has for a service called "trunk".
    variables | grep -Eqx 'TRUNK_(USER|PASSWORD|DOMAIN|CODECS|CONTEXT|PATTERN|MAX_CALLS|CALLS_PER_SECOND|CALLER_ID)' || return 0
    [ -e "$etc/trunk.sh" ] || die "TRUNK_USER: the folder mounted at /etc/asterisk has no trunk.sh"
    if is_loopback "$(value SIP_ADDRESS)" || is_loopback "$external"; then
        say "the provider cannot reach this machine's loopback: set SIP_ADDRESS, and behind a router EXTERNAL_ADDRESS"
    fi
    sh "$etc/trunk.sh"
}

# Asterisk's own HTTP server and REST interface, for whoever asks by giving it an account.
put_ari() {
    if [ -z "$(value ARI_PASSWORD)" ]; then
        [ -z "$(value ARI_USER)" ] || die "ARI_USER: an account has an ARI_PASSWORD, too"
        return 0
    fi
    user=${ARI_USER:-ari} bind=${ARI_BIND:-0.0.0.0:8088}
    case $user in general | *[!A-Za-z0-9_-]*) die "ARI_USER: letters, digits, _ and -, and not 'general'" ;; esac
    [ -e "$etc/ari.conf" ] || die "ARI_PASSWORD: the folder mounted at /etc/asterisk has no ari.conf; take it from asterisk-conf/"
    include modules.conf modules_ari.conf ARI_PASSWORD
    add_section http.conf general
    add_section ari.conf general
    add_section ari.conf "$user"
    put http.conf general enabled yes
    put http.conf general enable_status no
    put ari.conf general enabled yes
    put http.conf general bindaddr "${bind%:*}"
    put http.conf general bindport "${bind##*:}"
    put ari.conf "$user" type user
    put ari.conf "$user" password_format plain
    put ari.conf "$user" password "$ARI_PASSWORD"
}

# Fills $etc, and exports what Asterisk is to find in its environment.
configure() {
    read_secret_files
    check_values
    umask 077
    rm -rf "$etc"
    cp -rL "$shipped" "$etc"
    chmod -R u+w "$etc"
    put_folders
    choose_profile
    put_settings
    put_api
    put_desk
    put_passwords
    put_addresses
    put_tls
    put_trunk
    put_ari
    # Asterisk has these in its configuration; its children need not have them in their environment.
    unset SIP_PASSWORD TRUNK_PASSWORD ARI_PASSWORD
}
