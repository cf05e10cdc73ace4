#!/bin/bash
# Docker's question whether the container is well: GET /health of the control API, or Asterisk itself where that is off.
set -euo pipefail

bind=${AI_BRIDGE_HTTP_BIND:-0.0.0.0:9000}
if [ "$bind" = no ]; then
    exec asterisk -C /run/asterisk/etc/asterisk.conf -rx 'core waitfullybooted'
fi
address=${bind%:*}
if [ "$address" = 0.0.0.0 ]; then address=127.0.0.1; fi
exec 3<>"/dev/tcp/$address/${bind##*:}"
printf 'GET /health HTTP/1.0\r\n\r\n' >&3
grep -qF '{"status":"ok"}' <&3
