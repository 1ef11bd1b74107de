#!/bin/sh
# Makes Knot the primary of the zone. Run it on the machine of BestDNS when no resolver asks
# that any more. Meanwhile, for two seconds, the API takes no changes: its clients try
# again for four seconds.
set -eu
. ./functions.sh
all_answer
trap 'if [ $? -ne 0 ]; then echo "this was not finished, and the API may be closed: if Knot is still a secondary load 4-hidden.caddyfile, and else 6-knot.caddyfile" >&2; fi' EXIT

caddy reload --force --config 5-closed.caddyfile
if ! settled "$bestdns" 3 || ! same_serial; then
	caddy reload --force --config 4-hidden.caddyfile
	trap - EXIT
	echo "Knot and its peer do not have the zone as BestDNS has it; nothing was changed" >&2
	exit 1
fi
ssh "root@$knot" "knotc -b zone-flush example.com && sed -i 's/^    master:/    #master:/' /etc/knot/knot.conf && knotc reload"
caddy reload --force --config 6-knot.caddyfile
