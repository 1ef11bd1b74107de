package check

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file has the settings of Knot, BIND, NSD and PowerDNS that let the service and
// secondaries do their work.

// allowUpdate returns what lets a key change a zone.
func allowUpdate(zone record.Name, key string) []string {
	return append(allowByACL(key),
		"// named.conf, in the zone",
		"update-policy { grant "+key+" zonesub TXT; };",
		"# pdns.conf",
		"dnsupdate=yes",
		"allow-dnsupdate-from=<address of this machine>",
		"# for PowerDNS, once",
		"pdnsutil set-meta "+zone.Plain()+" TSIG-ALLOW-DNSUPDATE "+key,
	)
}

// allowTransfer returns what lets a key transfer a zone.
func allowTransfer(zone record.Name, key string) []string {
	return append(allowByACL(key),
		"// named.conf, in the zone",
		"allow-transfer { key "+key+"; };",
		"# for PowerDNS, once",
		"pdnsutil set-meta "+zone.Plain()+" TSIG-ALLOW-AXFR "+key,
	)
}

// allowByACL returns what lets a key do both on Knot.
func allowByACL(key string) []string {
	return []string{
		"# knot.conf, with its id in acl of the zone",
		"acl:",
		"  - id: " + key,
		"    key: " + key,
		"    action: [ update, transfer ]",
	}
}

// acceptNotify returns what has a secondary accept NOTIFY from the primaries and from the
// service.
func acceptNotify(primaries []string, key string) []string {
	var from []string
	for _, primary := range primaries {
		if address := addressOf(primary); !address.IsLoopback() {
			from = append(from, address.String())
		}
	}
	from = append(from, "<address of this machine>")
	lines := []string{
		"# knot.conf, with its id in acl of the zone",
		"acl:",
		"  - id: notify",
		"    address: [ " + strings.Join(from, ", ") + " ]",
	}
	if key != "" {
		lines = append(lines, "    key: "+key)
	}
	lines = append(lines,
		"    action: notify",
		"// named.conf, in the zone",
	)
	if key != "" {
		lines = append(lines, "allow-notify { key "+key+"; };")
	} else {
		lines = append(lines, "allow-notify { "+strings.Join(from, "; ")+"; };")
	}
	lines = append(lines, "# nsd.conf, in the zone")
	for _, address := range from {
		lines = append(lines, "allow-notify: "+address+" "+cmp.Or(key, "NOKEY"))
	}
	return lines
}

// addressOf returns the address of a server that may be given with its port.
func addressOf(server string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(server); err == nil {
		return withPort.Addr()
	}
	address, _ := netip.ParseAddr(server) // one that is invalid is shown as such
	return address
}
