package nameserver

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	// Awaiting are names at or below which challenges are answered at any name: CNAMEs lead there.
	Awaiting []record.Name
	// ChallengeLifetime is how far ahead the records of challenges may expire. What expires
	// later was written by a clock that was ahead, and is brought down to that. Zero is 24 h.
	ChallengeLifetime time.Duration
	// Transfers are the zone's secondaries. Others do not change its contents, nor its serial.
	Transfers []Transfer
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

// configRecords are the records that a configuration makes in a zone. They never change.
type configRecords struct {
	sets        []configSet // without the SOA
	soaNames    string      // MNAME and RNAME in wire form
	negativeTTL uint32
	awaiting    []record.Name
	fingerprint fingerprint
}

// configSet is an RRset that a configuration makes.
type configSet struct {
	name record.Name
	key  string
	typ  record.Type
	set  rrset
}

// newConfigRecords makes the records of a zone, or says why its configuration is invalid.
func newConfigRecords(c ZoneConfig) (*configRecords, error) {
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
	records := &configRecords{
		soaNames:    string(c.NameServers[0].Name) + string(contact),
		negativeTTL: c.NegativeTTL, awaiting: slices.Clone(c.Awaiting),
	}
	for _, ns := range c.NameServers {
		records.add(c.Name, record.TypeNS, c.TTL, string(ns.Name))
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
			records.add(ns.Name, t, c.TTL, string(addr.AsSlice()))
		}
	}
	records.fingerprint = records.digest()
	return records, nil
}

// add adds a record, unless it is there already.
func (c *configRecords) add(name record.Name, t record.Type, ttl uint32, data string) {
	r := rrset(appendRecord(nil, record.Record{TTL: ttl, Data: data}))
	for i := range c.sets {
		set := &c.sets[i]
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
	c.sets = append(c.sets, configSet{name: name, key: name.Key(), typ: t, set: r})
}

func (c *configRecords) digest() fingerprint {
	all := appendSet(nil, record.TypeSOA, c.soa(0).cacheable)
	for _, name := range c.awaiting {
		all = append(append(all, 1), name...)
	}
	for _, set := range c.sets {
		all = append(all, set.name...)
		all = appendSet(all, set.typ, set.set)
	}
	return sha256.Sum256(all)
}

// soaSets are the SOA record of a zone in two forms.
type soaSets struct {
	cacheable rrset // as configured
	// uncacheable has a TTL of zero, for answers that no resolver may keep (RFC 2308 §5).
	uncacheable rrset
}

// soa makes the SOA record.
func (c *configRecords) soa(serial uint32) soaSets {
	if c == nil {
		return soaSets{}
	}
	data := make([]byte, 0, len(c.soaNames)+5*4)
	data = append(data, c.soaNames...)
	for _, n := range []uint32{serial, soaRefresh, soaRetry, soaExpire, c.negativeTTL} {
		data = binary.BigEndian.AppendUint32(data, n)
	}
	withTTL := func(ttl uint32) rrset { return rrset(appendRecord(nil, record.Record{TTL: ttl, Data: string(data)})) }
	return soaSets{cacheable: withTTL(c.negativeTTL), uncacheable: withTTL(0)}
}

// has reports whether an RRset other than the SOA is made.
func (c *configRecords) has(name record.Name, t record.Type) bool {
	if c == nil {
		return false
	}
	for i := range c.sets {
		if c.sets[i].typ == t && c.sets[i].name == name {
			return true
		}
	}
	return false
}

// configure has the zone hold the records of a configuration instead of those of the one
// before, and returns the keys of the nodes that it has set. Doing it again changes
// nothing. It can be done whenever the store has all of the zone: what it has at those
// names is read from there. The tree must be the caller's own. hidden is called for each
// name whose stored records give way.
func (z *Snapshot) configure(records *configRecords, stored *store, hidden func(record.Name)) (keys []string, err error) {
	for _, which := range []*configRecords{z.config, records} {
		if which == nil {
			continue
		}
		for _, set := range which.sets {
			if slices.Contains(keys, set.key) {
				continue
			}
			keys = append(keys, set.key)
			n, err := stored.node(z.zone, set.key)
			if err != nil {
				return nil, err
			}
			n, hides := records.merge(set.name, set.key, n)
			if hides {
				hidden(set.name)
			}
			z.put(set.key, n)
		}
	}
	z.config = records
	z.soa = records.soa(z.serial)
	return keys, nil
}

// merge returns the node of stored and configured records at a name. Configured ones
// replace stored ones of their type, and a CNAME, beside which they could not be; hides
// reports whether there were such.
func (c *configRecords) merge(name record.Name, key string, stored node) (merged node, hides bool) {
	var records []record.Record
	for _, set := range c.sets {
		if set.key == key {
			records = set.set.appendRecords(records, name, set.typ)
		}
	}
	if len(records) == 0 {
		return stored, false
	}
	for t, r := range stored.records() {
		if t == record.TypeCNAME || c.has(name, t) {
			hides = true
			continue
		}
		records = append(records, r.record(name, t))
	}
	return packNode(records), hides
}
