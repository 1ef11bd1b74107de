package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file says what the matrix is of: who obtains certificates, for what, behind which
// resolver, and where the records are.

// cell is one combination.
type cell struct {
	client, names, resolver, sharing, zone string
}

// The dimensions of the matrix.
var (
	matrixClients = []string{"Caddy", "certmagic", "lego"}
	matrixNames   = []string{oneName, bareName, nameAndWildcard, rsaAndECDSA, again, tenHosts}
	matrixSharing = []string{caAlone, shared}
	matrixZones   = []string{builtin, ownZone, cnameTarget, transferred, onKnot, lagging, onBIND, onPowerDNS}
)

const (
	oneName         = "one name"
	bareName        = "a name with no other record"
	nameAndWildcard = "name and wildcard"
	rsaAndECDSA     = "RSA, then ECDSA"
	again           = "renewal 5 s later"
	tenHosts        = "ten hosts at once"

	caAlone = "CA alone"
	shared  = "shared"

	builtin     = "built-in zone"
	ownZone     = "own zone"
	cnameTarget = "CNAME target"
	transferred = "built-in zone with Knot and NSD as secondaries"
	onKnot      = "Knot"
	lagging     = "Knot with a secondary, and one that lags 5 s"
	onBIND      = "BIND with a Knot secondary"
	onPowerDNS  = "two PowerDNS on PostgreSQL"
)

// The zones of the matrix: those of the built-in name server, and two that are hosted
// elsewhere. Those on name servers of others are in [newSharedZones].
const (
	matrixBuiltin     = "built.example"
	matrixTarget      = "target.example"
	matrixTransferred = "transferred.example"
	matrixDelegates   = "delegates.example" // _acme-challenge.D in it to the service
	matrixAliases     = "aliases.example"   // _acme-challenge.D in it by CNAME
)

func (c cell) dimensions() [5]string {
	return [...]string{c.client, c.names, c.resolver, c.sharing, c.zone}
}

func (c cell) String() string {
	d := c.dimensions()
	return strings.Join(d[:], "/")
}

// allCells returns every combination.
func allCells() (all []cell) {
	for _, client := range matrixClients {
		for _, names := range matrixNames {
			for _, c := range harness.Caches {
				for _, sharing := range matrixSharing {
					for _, zone := range matrixZones {
						all = append(all, cell{client, names, c.Name, sharing, zone})
					}
				}
			}
		}
	}
	return all
}

// pairwise returns few cells in which each value of a dimension meets each value of every
// other one: the one that has the most pairs that are new, again and again.
func pairwise(all []cell) (chosen []cell) {
	type pair struct {
		i, j int
		a, b string
	}
	pairs := func(c cell) (of []pair) {
		d := c.dimensions()
		for j := range d {
			for i := range j {
				of = append(of, pair{i, j, d[i], d[j]})
			}
		}
		return of
	}
	left := make(map[pair]bool)
	for _, c := range all {
		for _, p := range pairs(c) {
			left[p] = true
		}
	}
	fresh := func(c cell) (n int) {
		for _, p := range pairs(c) {
			if left[p] {
				n++
			}
		}
		return n
	}
	for len(left) > 0 {
		best := slices.MaxFunc(all, func(a, b cell) int { return fresh(a) - fresh(b) })
		for _, p := range pairs(best) {
			delete(left, p)
		}
		chosen = append(chosen, best)
	}
	return chosen
}

// delay is how long the client waits before it tells the CA that its record is there: no
// longer than the service takes, but where the client has asked a cache for a name of
// another name server's zone. That says NXDOMAIN, and caches keep it for a second at least.
func (c cell) delay() time.Duration {
	if isShared(c.zone) && c.sharing == shared {
		return 2 * time.Second
	}
	return 0
}

// hosts returns the domains of a cell, whose number is n.
func (c cell) hosts(n int) (hosts []string) {
	zone := map[string]string{builtin: matrixBuiltin, ownZone: matrixDelegates, cnameTarget: matrixAliases, transferred: matrixTransferred}[c.zone]
	if isShared(c.zone) {
		zone = sharedZoneNames[c.zone]
	}
	for i := range map[bool]int{true: 10, false: 1}[c.names == tenHosts] {
		hosts = append(hosts, fmt.Sprintf("h%d.c%d.%s", i, n, zone))
	}
	return hosts
}

// owner is where the challenge of a host is answered.
func (c cell) owner(host string) string {
	if c.zone == cnameTarget {
		return host + "." + matrixTarget
	}
	return "_acme-challenge." + host
}

// orders returns what is ordered, one list after the other, the names of a list at the same
// time.
func (c cell) orders(n int) [][]string {
	hosts := c.hosts(n)
	switch c.names {
	case nameAndWildcard:
		return [][]string{{hosts[0], "*." + hosts[0]}}
	case rsaAndECDSA, again:
		return [][]string{hosts, hosts}
	}
	return [][]string{hosts}
}
