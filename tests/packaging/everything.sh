# An Asterisk that loads all its modules, as distributions and FreePBX have it, and whose own TLS is in use. Part of
# tests/packaging.sh.

certificate=etc/asterisk/web.pem

# Asterisk's own web server, with TLS; the practice agent, behind TLS.
prepare_tls() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$work/key" -out "$work/certificate" 2>/dev/null
    cat "$work/key" "$work/certificate" >"$root/$certificate"
    inside chown asterisk: "/$certificate"
    printf '[general]\nenabled = yes\nbindaddr = 127.0.0.1\ntlsenable = yes\ntlsbindaddr = 127.0.0.1:8089\ntlscertfile = /%s\n' \
        $certificate >"$root/etc/asterisk/http.conf"
    printf '[general]\nenabled = yes\n[web]\ntype = user\npassword = web\n' >"$root/etc/asterisk/ari.conf"
    start_agent
    python3 tests/packaging/tls.py "$root/$certificate" 9443 9797 9>&- &
    listens 9443
}

# ari PATH [HEADERS]: a request over TLS, which the server's answer need not end.
ari() { printf 'GET /ari/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic d2ViOndlYg==\r\n%b\r\n' "$1" "${2:-Connection: close\\r\\n}"; }
tls() { openssl s_client -quiet -verify_return_error -CAfile "$work/certificate" -servername localhost -connect 127.0.0.1:8089 2>/dev/null; }

watch_events() {
    local websocket='Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d2ViOndlYndlYjp3ZWI6dw==\r\n'
    { ari 'events?app=test&subscribeAll=true' "$websocket" && exec sleep 600; } | tls >"$work/events" 9>&- &
    local try
    for try in $(seq 50); do ! grep -qa "101 Switching" "$work/events" || break; sleep 0.1; done
    has "101 Switching" "a WebSocket of Asterisk's own over TLS" "$(head -n 1 "$work/events")"
}

events() { { grep -ao '"ChannelCreated"' "$work/events" || true; } | wc -l; }

# web_works WHEN: new connections, and the one that was there before.
web_works() {
    local seen try
    has "200 OK" "Asterisk's own HTTPS $1" "$(ari asterisk/info | tls | head -n 1)"
    seen=$(events)
    cli 'channel originate Local/caller@package-test application Wait 0.1' >/dev/null
    for try in $(seq 50); do [ "$(events)" = "$seen" ] || break; sleep 0.1; done
    [ "$(events)" -gt "$seen" ] || failed "Asterisk's own WebSocket is silent $1"
    passed "Asterisk's own WebSocket over TLS $1"
}

# Warnings and errors without their time and thread.
complaints() { asterisk_log | grep -aE '(WARNING|ERROR)\[' | sed -E 's/^\[[^]]*\] *//; s/\[[0-9]+\](\[C-[0-9a-f]+\])?//' | sort -u; }

load_everything() {
    stand_in_for_the_machine
    add_dialplan
    prepare_tls
    start_asterisk
    watch_events
    web_works "before the module is there"
    complaints >"$work/complaints.before"

    named >/dev/null
    sed -i "/^\[practice\]/,/^model/s|^url = .*|url = wss://localhost:9443/v1/realtime\ntls_ca_file = /$certificate|" "$root/etc/asterisk/ai_bridge.conf"
    has "Loaded" "module load beside $(cli 'module show' | sed -n 's/ modules loaded//p') modules" "$(cli 'module load res_ai_bridge.so')"
    talk
    web_works "beside AI() over TLS"
    has "Unloaded" "module unload" "$(cli 'module unload res_ai_bridge.so')"
    web_works "after module unload"
    has "Loaded" "module load for the second time" "$(cli 'module load res_ai_bridge.so')"
    cli 'module reload res_ai_bridge.so' >/dev/null
    talk
    web_works "at the end"
    stop_asterisk

    # With autoload nothing has to be written into modules.conf.
    start_asterisk
    has "Running" "module show after a restart with autoload" "$(cli 'module show like res_ai_bridge')"
    talk
    stop_asterisk
    complaints >"$work/complaints.after"
    [ -z "$(comm -13 "$work/complaints.before" "$work/complaints.after")" ] ||
        failed "new warnings" "$(comm -13 "$work/complaints.before" "$work/complaints.after")"
    passed "no warning beyond the $(wc -l <"$work/complaints.before") of the same Asterisk without the module"

    local symbols
    symbols=$(nm -D --defined-only "$root$module" | awk '{ print $3 }' | grep -vE '^(__internal_)?res_ai_bridge_' || true)
    [ -z "$symbols" ] && passed "no symbol that another module could have" || failed "symbols that another module could have" "$symbols"
}

# dialplan_of_docs: what docs/installing.md has for extensions_custom.conf.
dialplan_of_docs() { awk '/^```/ { dialplan = !dialplan && /^```ini$/; next } dialplan' docs/installing.md; }

# What FreePBX' files look like to Asterisk: generated ones that name those for the administrator, all owned by Asterisk's user.
behave_as_on_freepbx() {
    local etc=$root/etc/asterisk name
    cat >"$etc/modules.conf" <<'END'
[modules]
autoload=yes
preload=pbx_config.so
preload=chan_local.so
preload=res_mwi_blf.so
preload=func_db.so
preload=res_odbc.so
preload=res_config_odbc.so
preload=cdr_adaptive_odbc.so
noload=chan_also.so
noload=chan_oss.so
noload=app_directory_odbcstorage.so
noload=app_voicemail_odbcstorage.so
END
    : >"$etc/extensions.conf"
    for name in override_freepbx additional custom; do
        echo "#include extensions_$name.conf" >>"$etc/extensions.conf"
        : >"$etc/extensions_$name.conf"
    done
    printf '[from-internal]\ninclude => from-internal-xfer\n[from-internal-xfer]\ninclude => from-internal-custom\n' >>"$etc/extensions.conf"
    add_dialplan
    dialplan_of_docs >"$etc/extensions_custom.conf"
    # The recipe's profile is a vendor's, and nobody here would speak first.
    sed -i '/^\[assistant\]/,/^\[/{s|^url = .*|url = ws://127.0.0.1:9797/v1/realtime|; s|^model = .*|model = practice|; s|^api_key = .*|api_key = practice\ngreeting = Hello|}' "$etc/ai_bridge.conf"
    inside chown -R asterisk:asterisk /etc/asterisk
    start_asterisk
    has "Running" "module show in FreePBX' layout" "$(cli 'module show like res_ai_bridge')"
    has "^asterisk$" "the user that Asterisk runs as" "^$(inside stat -c %U "/proc/$asterisk")$"
    talk s@ai-assistant
    talk 7000@from-internal
    stop_asterisk
    # Its maker's packages are nowhere else; the other lines are those of any Asterisk.
    cannot_run 'apt-get install git make asterisk22-devel'
    cannot_run 'git clone <this repository> res_ai_bridge && cd res_ai_bridge'
}
