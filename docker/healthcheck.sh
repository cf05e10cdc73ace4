#!/bin/bash
# Docker's question whether the container is well: GET /health of the control API, or Asterisk itself where that is off.
set -euo pipefail

bind=$(cat /run/asterisk/etc/http_bind)
case $bind in
*:*) ;;
*) exec asterisk -C /run/asterisk/etc/asterisk.conf -rx 'core waitfullybooted' ;;
esac
address=${bind%:*} address=${address#[} address=${address%]}
case $address in
0.0.0.0) address=127.0.0.1 ;;
::) address=::1 ;;
esac
exec 3<>"/dev/tcp/$address/${bind##*:}"
printf 'GET /health HTTP/1.0\r\n\r\n' >&3
grep -qF '{"status":"ok"}' <&3
