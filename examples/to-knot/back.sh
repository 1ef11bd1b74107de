#!/bin/sh
# Makes BestDNS the primary again, hidden as before. The API takes no changes for three
# seconds, as in to-knot.sh.
set -eu
. ./functions.sh
if [ -z "$(serial "$knot")" ]; then
	echo "Knot does not answer for the zone; nothing was changed" >&2
	exit 1
fi
trap 'if [ $? -ne 0 ]; then echo "this was not finished, and the API may be closed: if Knot is still the primary load 6-knot.caddyfile, and else 4-hidden.caddyfile" >&2; fi' EXIT

caddy reload --force --config 7-import.caddyfile
# Knot may hold an update up for a second, while it notifies its peer.
if ! settled "$knot" 5; then
	caddy reload --force --config 6-knot.caddyfile
	trap - EXIT
	echo "the zone still changes at Knot, and not by BestDNS; nothing was changed" >&2
	exit 1
fi
ssh "root@$knot" "knotc -b zone-flush example.com >&2 && cat /var/lib/knot/example.com.zone" >from-knot.zone
caddy bestdns import example.com from-knot.zone --replace --config 7-import.caddyfile
# From here on changes are taken, and wait until both of these have the zone from BestDNS.
caddy reload --force --config 4-hidden.caddyfile
ssh "root@$knot" "sed -i 's/^    #master:/    master:/' /etc/knot/knot.conf && knotc reload && knotc zone-retransfer example.com"
ssh "root@$peer" "knotc zone-retransfer example.com"
same_serial || echo "Knot or its peer does not take the zone from BestDNS: see their logs" >&2
