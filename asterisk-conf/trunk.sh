#!/bin/sh
# Writes the account of a SIP trunk, from the environment, beside this file (or into the folder that is named):
#
#   TRUNK_USER TRUNK_PASSWORD TRUNK_DOMAIN    the account; without any of them the trunk is taken out
#   TRUNK_CODECS                              what it may use; default: ulaw,alaw
#   TRUNK_CONTEXT                             what its calls reach: ai-inbound, the AI (default); operator, a person at phone 1001
#   TRUNK_PATTERN TRUNK_MAX_CALLS TRUNK_CALLS_PER_SECOND TRUNK_CALLER_ID
#                                             limits of calls that the AI makes: the keys of those names in ai_bridge.conf
#
#   environment ──► pjsip_trunk.conf      included by pjsip_wizard.conf: Asterisk registers
#              └──► ai_bridge_trunk.conf  included by ai_bridge.conf: the AI calls through it
#
# Asterisk takes it over when it starts, or with `module reload`. docs/trunks.md tells more.
set -eu

folder=${1:-$(dirname "$0")}

die() {
    printf 'trunk: %s\n' "$*" >&2
    exit 1
}

say() { printf 'trunk: %s\n' "$*" >&2; }

# allowed NAME VALUE CHARACTERS WORDS: ends with a sentence when the value has others.
allowed() {
    rest=$(printf %s "$2" | tr -d "$3" && echo .)
    [ "$rest" = . ] || die "$1: only $4"
}

# write FILE: what comes in, for the eyes of those who may read the folder.
write() {
    (umask 077 && cat >"$folder/.$1") || die "$folder cannot be written"
    if [ "$(id -u)" = 0 ]; then
        chown --reference="$folder" "$folder/.$1"
        # Asterisk may run as another user than the one that the folder belongs to.
        if [ "$(stat -c %g "$folder")" = 0 ] && getent group asterisk >/dev/null; then chgrp asterisk "$folder/.$1"; fi
    fi
    chmod 640 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
}

user=${TRUNK_USER:-} password=${TRUNK_PASSWORD:-} domain=${TRUNK_DOMAIN:-}
codecs=${TRUNK_CODECS:-ulaw,alaw} context=${TRUNK_CONTEXT:-ai-inbound}
pattern=${TRUNK_PATTERN:-} max_calls=${TRUNK_MAX_CALLS:-} calls_per_second=${TRUNK_CALLS_PER_SECOND:-}
caller_id=${TRUNK_CALLER_ID:-}

if [ -z "$user$password$domain" ]; then
    [ -z "$pattern$max_calls$calls_per_second$caller_id${TRUNK_CODECS:-}${TRUNK_CONTEXT:-}" ] ||
        die "there is no account: set TRUNK_USER, TRUNK_PASSWORD and TRUNK_DOMAIN, too"
    rm -f "$folder/pjsip_trunk.conf" "$folder/ai_bridge_trunk.conf"
    exit 0
fi
missing=
for name in TRUNK_USER TRUNK_PASSWORD TRUNK_DOMAIN; do
    [ -n "$(printenv "$name" || true)" ] || missing="$missing${missing:+, }$name is not set"
done
[ -z "$missing" ] || die "an account is TRUNK_USER, TRUNK_PASSWORD and TRUNK_DOMAIN: $missing"
allowed TRUNK_USER "$user" 'A-Za-z0-9._+-' 'letters, digits and . _ + -'
allowed TRUNK_DOMAIN "$domain" 'A-Za-z0-9.:-' 'a name or an address, perhaps with :port'
printf %s "$domain" | grep -Eqx '[A-Za-z0-9.-]+(:[0-9]+)?' || die "TRUNK_DOMAIN: a name or an IPv4 address, perhaps with :port"
allowed TRUNK_CODECS "$codecs" 'a-z0-9,' 'names of codecs with commas between them, as ulaw,alaw'
allowed TRUNK_CONTEXT "$context" 'A-Za-z0-9_-' 'the name of a context'
allowed TRUNK_PATTERN "$pattern" 'e0-9XxZzNn_+.,[]-' 'patterns with commas between them, as _7XXXXXXXXXX,e164'
allowed TRUNK_MAX_CALLS "$max_calls" '0-9' 'a whole number'
allowed TRUNK_CALLS_PER_SECOND "$calls_per_second" '0-9.' 'a number'
allowed TRUNK_CALLER_ID "$caller_id" '0-9+,' 'numbers with commas between them'
[ "$(printf %s "$password" | tr -d '[:cntrl:]')" = "$password" ] || die "TRUNK_PASSWORD: one line, without control characters"
case $password in ' '* | *' ') die "TRUNK_PASSWORD: Asterisk takes no blank at its beginning or end" ;; esac
grep -qs '^#tryinclude pjsip_trunk.conf' "$folder/pjsip_wizard.conf" ||
    die "$folder/pjsip_wizard.conf has no line '#tryinclude pjsip_trunk.conf'; take the one of asterisk-conf/"
grep -qs "^\[$context\]" "$folder"/extensions*.conf ||
    die "TRUNK_CONTEXT: extensions.conf has no context [$context]; ai-inbound, operator or one of your own"

# lines KEY VALUES: a line for each of the values between commas.
lines() { printf %s "$2" | tr , '\n' | sed "s/.*/$1 = &/"; }

write pjsip_trunk.conf <<END
; The account of the trunk: trunk.sh has written it from the environment.

[trunk](registering)
remote_hosts = $domain
outbound_auth/username = $user
outbound_auth/password = $(printf %s "$password" | sed 's/;/\\;/g')
endpoint/from_user = $user
endpoint/from_domain = ${domain%%:*}
registration/contact_user = $user
registration/endpoint = trunk
endpoint/disallow = all
endpoint/allow = $codecs
endpoint/context = $context
END
write ai_bridge_trunk.conf <<END
; Calls that the AI makes go through the trunk: trunk.sh has written this.

[trunk]
type = trunk
dial = PJSIP/{{number}}@trunk
$(lines max_calls "$max_calls")
$(lines calls_per_second "$calls_per_second")
$(lines pattern "$pattern")
$(lines caller_id "$caller_id")
END
grep -qs '^#tryinclude ai_bridge_trunk.conf' "$folder/ai_bridge.conf" ||
    say "ai_bridge.conf has no line '#tryinclude ai_bridge_trunk.conf': the AI calls nobody through this trunk, and no limit counts"
if grep -Eqs '^[[:space:]]*password[[:space:]]*=>?[[:space:]]*[0-9]+pass[[:space:]]*(;.*)?$' "$folder/pjsip.conf"; then
    say "pjsip.conf has phones with public passwords (1001pass): change them before others reach this machine"
fi
