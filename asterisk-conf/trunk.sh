#!/bin/sh
# Writes the account of a SIP trunk, from the environment, beside this file (or into the folder that is named):
#
#   TRUNK_USER TRUNK_PASSWORD TRUNK_DOMAIN    the account; without any of them the trunk is taken out
#   TRUNK_CODECS                              what it may use; default: ulaw,alaw
#   TRUNK_CONTEXT                             what its calls reach: from-trunk, the AI (default); operator, a person at phone 1001
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

# allowed NAME VALUE CHARACTERS WORDS: ends with a sentence when the value has others.
allowed() {
    rest=$(printf %s "$2" | tr -d "$3" && echo .)
    [ "$rest" = . ] || die "$1: only $4"
}

# write FILE: what comes in, for the eyes of those who may read the folder.
write() {
    (umask 077 && cat >"$folder/.$1") || die "$folder cannot be written"
    if [ "$(id -u)" = 0 ]; then chown --reference="$folder" "$folder/.$1"; fi
    chmod 640 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
}

user=${TRUNK_USER:-} password=${TRUNK_PASSWORD:-} domain=${TRUNK_DOMAIN:-}
codecs=${TRUNK_CODECS:-ulaw,alaw} context=${TRUNK_CONTEXT:-from-trunk}

if [ -z "$user$password$domain" ]; then
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
allowed TRUNK_CODECS "$codecs" 'a-z0-9,' 'names of codecs with commas between them, as ulaw,alaw'
allowed TRUNK_CONTEXT "$context" 'A-Za-z0-9_-' 'the name of a context'
[ "$(printf %s "$password" | tr -d '[:cntrl:]')" = "$password" ] || die "TRUNK_PASSWORD: one line, without control characters"
case $password in ' '* | *' ') die "TRUNK_PASSWORD: Asterisk takes no blank at its beginning or end" ;; esac
grep -qs '^#tryinclude pjsip_trunk.conf' "$folder/pjsip_wizard.conf" ||
    die "$folder/pjsip_wizard.conf has no line '#tryinclude pjsip_trunk.conf'; take the one of asterisk-conf/"
grep -qs "^\[$context\]" "$folder"/extensions*.conf ||
    die "TRUNK_CONTEXT: extensions.conf has no context [$context]; from-trunk, operator or one of your own"

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
endpoint/allow = $codecs
endpoint/context = $context
END
write ai_bridge_trunk.conf <<END
; Calls that the AI makes go through the trunk: trunk.sh has written this.

[trunk]
type = trunk
dial = PJSIP/{{number}}@trunk
END
