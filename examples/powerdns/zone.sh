#!/bin/sh
# Makes the zone, once, on one of both machines. A PowerDNS that runs already sees it after
# a restart, or five minutes (zone-cache-refresh-interval).
set -eu

pdnsutil load-zone example.com example.com.zone
# Native would do without secondaries. With some, this is what has PowerDNS notify them.
pdnsutil set-kind example.com primary

# The key, which is in BestDNS' environment as POWERDNS_KEY. Make one with:
# pdnsutil generate-tsig-key bestdns hmac-sha256
pdnsutil import-tsig-key bestdns hmac-sha256 "$POWERDNS_KEY"

# Without it, every program at an address of allow-dnsupdate-from may change the zone, with
# no key at all. With another key in it, updates are refused.
pdnsutil set-meta example.com TSIG-ALLOW-DNSUPDATE bestdns
# Without it, BestDNS cannot read the zone, which deletions need.
pdnsutil set-meta example.com TSIG-ALLOW-AXFR bestdns
# The serial counts the changes. By default it is made of the date, and a hundred changes a
# day are more than that has room for.
pdnsutil set-meta example.com SOA-EDIT-DNSUPDATE INCREASE
