#!/bin/sh
# Hook of dehydrated for a BestDNS, by dynamic updates (RFC 2136). Install it as
# /etc/dehydrated/bestdns-hook.sh, and add to /etc/dehydrated/config:
#
#	CHALLENGETYPE="dns-01"
#	HOOK="/etc/dehydrated/bestdns-hook.sh"
#
# /etc/dehydrated/bestdns.key, which only root may read, has the client's key. Name and secret are those
# of the tsig line in the Caddyfile of BestDNS:
#
#	key "web1" { algorithm hmac-sha256; secret "..."; };
set -eu
server=${BESTDNS_SERVER:-203.0.113.5}
key=${BESTDNS_KEY:-/etc/dehydrated/bestdns.key}

case $1 in
deploy_challenge) change=add ;;
clean_challenge) change=delete ;;
*) exit 0 ;;
esac
shift
while [ $# -ge 3 ]; do # domain, name of a file, value: of one domain, or of all with HOOK_CHAIN="yes"
	printf 'server %s\nupdate %s _acme-challenge.%s. 0 TXT %s\nsend\n' "$server" "$change" "$1" "$3" | nsupdate -k "$key"
	shift 3
done
