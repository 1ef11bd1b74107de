#!/bin/sh
# Makes Knot the primary of the zone. Run it on the machine of BestDNS when no resolver asks
# that any more. Meanwhile, for a second and a half, the API takes no changes: its clients try
# again for four seconds.
set -eu
. ./functions.sh
trap 'if [ $? -ne 0 ]; then echo "this was not finished, and the API may be closed: if Knot is still a secondary load 4-hidden.caddyfile, and else 6-knot.caddyfile" >&2; fi' EXIT

caddy reload --force --config 5-closed.caddyfile
if ! settled 192.0.2.1 || ! same_serial; then
	caddy reload --force --config 4-hidden.caddyfile
	echo "Knot and its peer do not have the zone as BestDNS has it; nothing was changed" >&2
	exit 1
fi
ssh root@192.0.2.2 "knotc -b zone-flush example.com && sed -i 's/^    master:/    #master:/' /etc/knot/knot.conf && knotc reload"
caddy reload --force --config 6-knot.caddyfile
