package check

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/nsquery"
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

// notSeenAdvice says what may be wrong where servers do not have what was written.
func notSeenAdvice(zone HostedZone, missing []nsquery.Server, all bool) (do string, lines []string) {
	const old = "those servers have an old copy of the zone: see that the primary lets them copy it (AXFR), and "
	switch {
	case all:
		do = "the service writes to other servers than those to which the zone is delegated, or its provider is slow: compare them; "
	case len(zone.Notify) > 0:
		do = old + "that they accept NOTIFY from it and from this machine"
		if zone.NotifyKey != "" {
			do += " with the key, which has the same secret on both sides"
		}
		return do + "; use the lines for their software:", acceptNotify(zone.Primary, zone.NotifyKey)
	case len(zone.Primary) > 0:
		return old + "have the service tell them of changes, by this line in its block of the zone; they have to accept NOTIFY from its address:",
			[]string{"notify " + strings.Join(addressesOf(missing), " ")}
	default:
		do = old + "tells them of changes (NOTIFY); "
	}
	if !zone.NoWait {
		return do + "changes wait eight seconds for that, and clients of BestDNS two minutes; other clients are to wait by themselves", nil
	}
	return do + "until then, let clients wait, beside propagation_timeout -1:", []string{"propagation_delay 30s"}
}

// notifyAdvice says how late servers are told of changes at once; "" where the reader cannot change
// that.
func notifyAdvice(zone HostedZone, late []nsquery.Server) (do string, lines []string) {
	addresses := addressesOf(late)
	told := !slices.ContainsFunc(addresses, func(address string) bool { return !slices.Contains(zone.Notify, address) })
	switch {
	case zone.Provider != "" && zone.Provider != "rfc2136" && len(zone.Primary) == 0 && !zone.NoWait:
		return "", nil
	case told:
		do, lines = "changes wait for that. They are told at once, and take their time: "+reloadAdvice, []string{reloadLine}
	case zone.Name != "" && zone.Provider == "":
		do = "changes wait for that. Nothing tells them (NOTIFY): have the service do so, by this line in its block of the zone, and let them accept NOTIFY from its address:"
		lines = []string{"transfer " + strings.Join(addresses, " ")}
	case len(zone.Primary) == 0:
		do = "changes wait for that. Their primary tells them late (NOTIFY): Knot waits 1 s after a change, BIND 5 s. With BIND, write into its options:"
		lines = []string{"notify-delay 0;"}
	default:
		do = "changes wait for that. Their primary tells them late (NOTIFY): have the service do so, by this line in its block of the zone, and let them accept NOTIFY from its address:"
		lines = []string{"notify " + strings.Join(addresses, " ")}
	}
	if zone.NoWait {
		do = strings.Replace(do, "changes wait for that", "changes do not wait for that, since the zone has wait off, and certificates fail at the first try", 1)
	}
	return do, lines
}
