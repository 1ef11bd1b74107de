package nameserver

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// Counters are kept in shards: each goroutine that reads a UDP socket has its own
// as far as there are enough, and the others share the first. So counting a query
// touches no memory that another core writes to.
const counterShards = 8

// QueryCount is how many queries of a kind were answered since the server was opened.
type QueryCount struct {
	// Zone that the answer is from; "" for queries that got none from a zone.
	Zone record.Name
	// Type is the one asked for if it is among the usual ones, else "other"; of a dynamic update it
	// is "UPDATE".
	Type string
	// Rcode of the answer, such as "NOERROR".
	Rcode   string
	Queries uint64
}

// LimitCounts are how often a limit was reached since the server was opened.
type LimitCounts struct {
	// Truncated and Dropped are queries over UDP over the rate limit: those that
	// were told to come again over TCP, and those that got no answer.
	Truncated, Dropped uint64
	// RefusedConnections are those over TCP that were closed at once.
	RefusedConnections uint64
	// ClosedConnections are idle ones that had to make room.
	ClosedConnections uint64
}

// QueryCounts returns the counts that are not zero, in order. The labels are
// bounded by the zones that there are.
func (s *Server) QueryCounts() []QueryCount {
	counts := s.outside.appendTo(nil, "")
	zones := *s.zones.Load()
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		counts = zones[name].counts.appendTo(counts, name)
	}
	return counts
}

// LimitCounts returns how often limits were reached.
func (s *Server) LimitCounts() LimitCounts {
	refused, closed := s.connections.counts()
	return LimitCounts{
		Truncated:          s.limiter.truncated.Load(),
		Dropped:            s.limiter.dropped.Load(),
		RefusedConnections: refused,
		ClosedConnections:  closed,
	}
}

// count counts an answer. z is nil for one that is from no zone.
func (s *Server) count(shard int, z *zone, t record.Type, rcode int) {
	counts := &s.outside
	if z != nil {
		counts = &z.counts
	}
	counts.add(shard, typeIndex(t), rcode)
}

// countUpdate counts the answer to an update, of whatever zone.
func (s *Server) countUpdate(shard, rcode int) {
	s.outside.add(shard, uint8(len(typeLabels)-1), rcode)
}

// queryCounts are those of one zone, or of what is outside of all.
type queryCounts struct {
	shards [counterShards]atomic.Pointer[countShard]
}

type countShard [len(typeLabels)][len(rcodeLabels)]atomic.Uint64

func (c *queryCounts) add(shard int, typ uint8, rcode int) {
	counts := c.shards[shard].Load()
	if counts == nil {
		c.shards[shard].CompareAndSwap(nil, new(countShard))
		counts = c.shards[shard].Load()
	}
	counts[typ][slices.Index(rcodes[:], rcode)].Add(1)
}

func (c *queryCounts) appendTo(list []QueryCount, zone record.Name) []QueryCount {
	for t := range typeLabels {
		for rcode := range rcodeLabels {
			var n uint64
			for i := range c.shards {
				if counts := c.shards[i].Load(); counts != nil {
					n += counts[t][rcode].Load()
				}
			}
			if n > 0 {
				list = append(list, QueryCount{Zone: zone, Type: typeLabels[t], Rcode: rcodeLabels[rcode], Queries: n})
			}
		}
	}
	return list
}

// typeLabels are the types counted by themselves, the others first.
var typeLabels = [...]string{"other", "A", "AAAA", "ANY", "CAA", "CNAME", "DS", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TLSA", "TXT", updateLabel}

// updateLabel is that of dynamic updates, which are counted beside the types of questions.
const updateLabel = "UPDATE"

// typeIndexes are indexes of typeLabels by type, up to the highest that has one.
var typeIndexes = func() (indexes [dns.TypeCAA + 1]uint8) {
	for i, label := range typeLabels[1 : len(typeLabels)-1] {
		indexes[dns.StringToType[label]] = uint8(1 + i)
	}
	return indexes
}()

func typeIndex(t record.Type) uint8 {
	if int(t) < len(typeIndexes) {
		return typeIndexes[t]
	}
	return 0
}

// rcodes are the RCODEs that there are in answers, and rcodeLabels their names.
var (
	rcodes = [...]int{
		dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers, dns.RcodeNotAuth,
		dns.RcodeServerFailure, dns.RcodeYXDomain, dns.RcodeYXRrset, dns.RcodeNXRrset, dns.RcodeNotZone, // of updates
	}
	rcodeLabels = [len(rcodes)]string{
		"NOERROR", "NXDOMAIN", "REFUSED", "FORMERR", "NOTIMP", "BADVERS", "NOTAUTH",
		"SERVFAIL", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTZONE",
	}
)
