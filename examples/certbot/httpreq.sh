#!/bin/sh
# Hook of certbot for a BestDNS that serves httpreq (bestdns { httpreq } in its Caddyfile):
#
#	certbot certonly --manual --preferred-challenges dns -d example.com -d '*.example.com' \
#		--manual-auth-hook '/etc/letsencrypt/httpreq.sh present' \
#		--manual-cleanup-hook '/etc/letsencrypt/httpreq.sh cleanup'
#
# /etc/letsencrypt/bestdns.curl, which only root may read, has one line with the token:
#
#	user = "certbot:bestdns_..."
set -eu
url=${BESTDNS_URL:-https://dns.example.net}
config=${BESTDNS_CURL:-/etc/letsencrypt/bestdns.curl}

printf '{"fqdn":"_acme-challenge.%s.","value":"%s"}' "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" |
	curl -fsS --retry 3 --max-time 60 --config "$config" --data-binary @- -o /dev/null "$url/$1"
