#!/bin/sh
# Hook of certbot for a BestDNS that serves acme-dns (bestdns { acme_dns } in its Caddyfile).
# Register an account once, and create the CNAME from _acme-challenge.example.com to what it
# says is its "fulldomain". TOKEN is the token of a client with a register line:
#
#	umask 077
#	curl -fsS -X POST -H 'Authorization: Bearer TOKEN' https://dns.example.net/register \
#		>/etc/letsencrypt/example.com.account
#	certbot certonly --manual --preferred-challenges dns -d example.com -d '*.example.com' \
#		--manual-auth-hook /etc/letsencrypt/acme-dns.sh
#
# Nothing has to be cleaned up: what it has written expires.
set -eu
url=${BESTDNS_URL:-https://dns.example.net}
account=${BESTDNS_ACCOUNTS:-/etc/letsencrypt}/$CERTBOT_DOMAIN.account

field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$account"; }
curl -fsS --retry 3 --max-time 60 -o /dev/null --config - <<END
url = "$url/update"
header = "X-Api-User: $(field username)"
header = "X-Api-Key: $(field password)"
data = "{\"subdomain\":\"$(field subdomain)\",\"txt\":\"$CERTBOT_VALIDATION\"}"
END
