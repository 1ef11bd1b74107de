package nameserver

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// ZoneConfig is what the configuration says of a zone: the records that the server
// makes are made from it.
type ZoneConfig struct {
	Name record.Name
	// NameServers are those of the zone's NS records, the first also the SOA's
	// MNAME. There must be one at least.
	NameServers []NameServer
	// TTL in seconds is that of the NS records and of the name servers' addresses.
	TTL uint32
	// NegativeTTL in seconds is how long a resolver may remember that a name or type does
	// not exist (RFC 2308 §5). Of names that await a challenge it may not at all.
	NegativeTTL uint32
	// ChallengeTarget is set for the zone to which CNAMEs of challenges lead: all of its
	// names await one.
	ChallengeTarget bool
	// ChallengeLifetime is how far ahead the records of challenges may expire. What expires
	// later was written by a clock that was ahead, and is brought down to that. Zero is 24 h.
	ChallengeLifetime time.Duration
}

// NameServer is a name server of a zone.
type NameServer struct {
	Name record.Name
	// Addresses become A and AAAA records where Name is in the zone.
	Addresses []netip.Addr
}

// Times of the SOA record in seconds (RFC 1035 §3.3.13). Its minimum and its own TTL are
// the zone's NegativeTTL.
const (
	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 1209600
)

// fingerprint is the digest of what a configuration makes of a zone. The store
// remembers it, so that the serial rises when a configuration changes a zone, and
// does not rise at each start.
type fingerprint [sha256.Size]byte

// made is what a configuration makes of a zone. It never changes.
type made struct {
	sets        []madeSet
	soaNames    string // MNAME and RNAME in wire form
	negativeTTL uint32
	target      bool // of challenges
	fingerprint fingerprint
}

// madeSet is one RRset of a made.
type madeSet struct {
	name record.Name
	key  string
	typ  record.Type
	set  rrset
}

// newMade makes the records of a zone, or says why its configuration is none.
func newMade(c ZoneConfig) (*made, error) {
	if len(c.NameServers) == 0 {
		return nil, errors.New("it has no name server; give it one at least")
	}
	for _, ttl := range []uint32{c.TTL, c.NegativeTTL} {
		if ttl > record.MaxTTL {
			return nil, fmt.Errorf("TTL %d: not from 0 to %d seconds", ttl, record.MaxTTL)
		}
	}
	contact, err := c.Name.Child("hostmaster")
	if err != nil {
		return nil, fmt.Errorf("the name is too long for the contact in its SOA record: %w", err)
	}
	m := &made{
		soaNames:    string(c.NameServers[0].Name) + string(contact),
		negativeTTL: c.NegativeTTL, target: c.ChallengeTarget,
	}
	for _, ns := range c.NameServers {
		m.add(c.Name, record.TypeNS, c.TTL, string(ns.Name))
		for _, addr := range ns.Addresses {
			if !addr.IsValid() {
				return nil, fmt.Errorf("name server %q: an address is missing", ns.Name)
			}
			if !ns.Name.In(c.Name) {
				continue
			}
			t := record.TypeAAAA
			if addr = addr.Unmap(); addr.Is4() {
				t = record.TypeA
			}
			m.add(ns.Name, t, c.TTL, string(addr.AsSlice()))
		}
	}
	m.fingerprint = m.digest()
	return m, nil
}

// add adds a record, unless it is there already.
func (m *made) add(name record.Name, t record.Type, ttl uint32, data string) {
	r := rrset(appendPacked(nil, ttl, 0, data))
	for i := range m.sets {
		set := &m.sets[i]
		if set.name != name || set.typ != t {
			continue
		}
		for have := set.set; have != ""; {
			var old packedRecord
			if old, have = have.next(); old.data == data {
				return
			}
		}
		set.set += r
		return
	}
	m.sets = append(m.sets, madeSet{name: name, key: name.Key(), typ: t, set: r})
}

func (m *made) digest() fingerprint {
	all := appendSet(nil, record.TypeSOA, m.soa(0).lasting)
	if m.target {
		all = append(all, 1)
	}
	for _, set := range m.sets {
		all = append(all, set.name...)
		all = appendSet(all, set.typ, set.set)
	}
	return sha256.Sum256(all)
}

// soaSets are the SOA record of a zone in two forms.
type soaSets struct {
	lasting rrset // as configured
	// fleeting has a TTL of zero, for answers that no resolver may keep (RFC 2308 §5).
	fleeting rrset
}

// soa makes the SOA record.
func (m *made) soa(serial uint32) soaSets {
	if m == nil {
		return soaSets{}
	}
	data := make([]byte, 0, len(m.soaNames)+5*4)
	data = append(data, m.soaNames...)
	for _, n := range []uint32{serial, soaRefresh, soaRetry, soaExpire, m.negativeTTL} {
		data = binary.BigEndian.AppendUint32(data, n)
	}
	sets := soaSets{lasting: rrset(appendPacked(nil, m.negativeTTL, 0, string(data)))}
	sets.fleeting = sets.lasting
	if m.negativeTTL != 0 {
		sets.fleeting = rrset(appendPacked(nil, 0, 0, string(data)))
	}
	return sets
}

// has reports whether an RRset other than the SOA is made.
func (m *made) has(name record.Name, t record.Type) bool {
	if m == nil {
		return false
	}
	for i := range m.sets {
		if m.sets[i].typ == t && m.sets[i].name == name {
			return true
		}
	}
	return false
}

// merge returns the node of stored and made records at a name. Made ones take the
// place of stored ones of their type, and of a CNAME, beside which they could not
// stand; hidden reports whether there were such.
func (m *made) merge(key string, stored node) (merged node, hidden bool) {
	var here []madeSet
	if m != nil {
		for _, set := range m.sets {
			if set.key == key {
				here = append(here, set)
			}
		}
	}
	if len(here) == 0 {
		return stored, false
	}
	name := here[0].name
	var records []record.Record
	for stored != "" {
		var (
			t   record.Type
			set rrset
		)
		t, set, stored = stored.next()
		if t == record.TypeCNAME || m.has(name, t) {
			hidden = true
			continue
		}
		records = set.appendRecords(records, name, t)
	}
	for _, set := range here {
		records = set.set.appendRecords(records, name, set.typ)
	}
	return packNode(records), hidden
}
