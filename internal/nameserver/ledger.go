package nameserver

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file keeps account of how much each client has in the built-in zones, so that no
// client takes the room of the others. A record is its writer's until it is gone, also
// across restarts: the store has the client's number with the record, and the client's
// name under its number.

// Account is on whose account a change is made, and how much may be there. Zero is no
// limit. What is over a limit already may stay and shrink.
type Account struct {
	// Client is the one to which the records belong, "" for none. The changes of one client wait
	// for each other before they wait for those of others.
	Client string
	// Records and Bytes are how much the client may have in all zones together. Bytes are
	// those of the records in wire form, with their owner names in full.
	Records, Bytes int
	// ZoneRecords and ZoneBytes are how much may be in the zone of the change, by
	// any client, with what the server makes.
	ZoneRecords, ZoneBytes int
	// Challenges is how many records that expire may be at one name for challenges and at
	// the names with an account's label below it, together.
	Challenges int
}

// The limits of [Account].
const (
	LimitClientRecords record.Limit = "client-records"
	LimitClientBytes   record.Limit = "client-bytes"
	LimitZoneRecords   record.Limit = "zone-records"
	LimitZoneBytes     record.Limit = "zone-bytes"
	LimitChallenges    record.Limit = "domain-challenges"
)

// Use is how much is on an account.
type Use struct{ Records, Bytes int }

func (u Use) plus(other Use) Use { return Use{u.Records + other.Records, u.Bytes + other.Bytes} }

// ledger is how much is on which account. The committer alone changes it, under the
// lock that readers hold.
type ledger struct {
	mu      sync.Mutex
	numbers map[string]uint32 // of the clients, by name
	names   []string          // by number; the first is no one's
	used    []Use             // by number
	domains map[domain]int    // records that expire
}

// domain is one name for challenges, and those with an account's label below.
type domain struct {
	zone *zone
	key  string // of the name
}

func newLedger(names map[uint32]string) *ledger {
	l := &ledger{numbers: make(map[string]uint32, len(names)), domains: make(map[domain]int), names: make([]string, 1), used: make([]Use, 1)}
	for number, name := range names {
		l.know(number, name)
	}
	return l
}

// know notes the number of a client.
func (l *ledger) know(number uint32, name string) {
	l.numbers[name] = number
	if more := int(number) + 1 - len(l.used); more > 0 {
		l.names = append(l.names, make([]string, more)...)
		l.used = append(l.used, make([]Use, more)...)
	}
	l.names[number] = name
}

// ClientName returns the name of the client that has a number, "" if none has it.
func (s *Server) ClientName(number uint32) string {
	l := s.ledger.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(number) >= len(l.names) {
		return ""
	}
	return l.names[number]
}

// number returns the number of a client, 0 for none. One that has no number yet gets
// one, which the store learns with the next commit.
func (s *Server) number(client string) uint32 {
	if client == "" {
		return 0
	}
	l := s.ledger.Load()
	if number, ok := l.numbers[client]; ok {
		return number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	number := uint32(len(l.used))
	l.know(number, client)
	s.store.newClients = append(s.store.newClients, storedClient{number, client})
	return number
}

// move notes that a name has now other records. The lock is held.
func (l *ledger) move(z *zone, key string, before, after node) {
	l.add(z, key, before, -1)
	l.add(z, key, after, +1)
}

func (l *ledger) add(z *zone, key string, n node, by int) {
	expiring := 0
	for _, r := range n.records() {
		if int(r.client) < len(l.used) {
			used := &l.used[r.client]
			used.Records += by
			used.Bytes += by * recordSize(key, len(r.data))
		}
		if r.expires != 0 {
			expiring += by
		}
	}
	if expiring == 0 {
		return
	}
	d := domain{z, challengeKey(key)}
	if l.domains[d] += expiring; l.domains[d] == 0 {
		delete(l.domains, d)
	}
}

// challengeKey returns the key of the name that counts for one at which challenges
// are answered: itself without an account's label.
func challengeKey(key string) string {
	last := strings.LastIndexByte(key[:max(len(key)-1, 0)], 0) + 1
	if last > 0 && record.IsAccountLabel(key[last:len(key)-1]) {
		return key[:last]
	}
	return key
}

// Uses returns how much each client has, by name; those that have nothing are left out.
func (s *Server) Uses() map[string]Use {
	l := s.ledger.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	uses := make(map[string]Use)
	for _, client := range slices.Sorted(maps.Keys(l.numbers)) {
		if used := l.used[l.numbers[client]]; used != (Use{}) {
			uses[client] = used
		}
	}
	return uses
}

// charge refuses a change that would put more on its account, or its zone's, than may be
// there. nodes are what the change leaves at the names that it changes.
func (b *batch) charge(d *draft, nodes []record.Node, keys []string, a Account, number uint32) error {
	l := b.server.ledger.Load()
	var ours, all Use
	var domains map[domain]int
	for i, n := range nodes {
		key := keys[i]
		more := 0 // that expire
		count := func(client uint32, expires int64, data string, by int) {
			size := Use{by, by * recordSize(key, len(data))}
			all = all.plus(size)
			if client == number {
				ours = ours.plus(size)
			}
			if expires != 0 {
				more += by
			}
		}
		before, _ := d.next.tree.Get(key)
		for _, r := range before.records() {
			count(r.client, r.expires, r.data, -1)
		}
		for _, r := range n.Records {
			if r.Type != record.TypeSOA {
				count(r.Client, r.Expires, r.Data, +1)
			}
		}
		if more != 0 {
			if domains == nil {
				domains = make(map[domain]int, 1)
			}
			domains[domain{d.zone, challengeKey(key)}] += more
		}
	}
	if err := b.checkAccount(l, d, a, number, ours, all); err != nil {
		return err
	}
	for at, more := range domains {
		if is := l.domains[at] + b.domains[at] + more; a.Challenges > 0 && more > 0 && is > a.Challenges {
			return record.OverLimit(LimitChallenges, a.Challenges, "there would be %d records of challenges at %q and below, and %d may be: they go when their clients delete them, or in time",
				is, record.NameFromKey(at.key), a.Challenges)
		}
	}
	b.pend(number, ours, domains)
	return nil
}

func (b *batch) checkAccount(l *ledger, d *draft, a Account, number uint32, client, all Use) error {
	over := func(most, is, more int) bool { return most > 0 && more > 0 && is > most }
	if number != 0 {
		is := client.plus(b.used[number])
		if int(number) < len(l.used) {
			is = is.plus(l.used[number])
		}
		switch {
		case over(a.Records, is.Records, client.Records):
			return record.OverLimit(LimitClientRecords, a.Records, "client %q would have %d records here, and it may have %d: delete some first", a.Client, is.Records, a.Records)
		case over(a.Bytes, is.Bytes, client.Bytes):
			return record.OverLimit(LimitClientBytes, a.Bytes, "the records of client %q would have %d bytes, and may have %d: delete some first", a.Client, is.Bytes, a.Bytes)
		}
	}
	// How much others have in the zone is not for this client to know.
	is := all.plus(Use{d.next.records, d.next.bytes})
	switch {
	case over(a.ZoneRecords, is.Records, all.Records):
		return record.OverLimit(LimitZoneRecords, a.ZoneRecords, "zone %q may have %d records, and would have more: some have to be deleted first, or its max_records raised", d.zone.name, a.ZoneRecords)
	case over(a.ZoneBytes, is.Bytes, all.Bytes):
		return record.OverLimit(LimitZoneBytes, a.ZoneBytes, "the records of zone %q may have %d bytes, and would have more: some have to be deleted first, or its max_bytes raised", d.zone.name, a.ZoneBytes)
	}
	return nil
}

// pend notes what the changes of the batch so far put on accounts, until it is
// published.
func (b *batch) pend(number uint32, client Use, domains map[domain]int) {
	if client != (Use{}) && number != 0 {
		if b.used == nil {
			b.used = make(map[uint32]Use)
		}
		b.used[number] = b.used[number].plus(client)
	}
	if len(domains) > 0 {
		if b.domains == nil {
			b.domains = make(map[domain]int)
		}
		for at, more := range domains {
			b.domains[at] += more
		}
	}
}
