package rfc2136

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	zoneName = "zone.test."
	fudge    = 300
)

var (
	testZone  = mustName(zoneName)
	testKey   = mustKey("key.test", "hmac-sha256", "c2VjcmV0IHNlY3JldCBzZWNyZXQ=")
	otherKey  = mustKey("key.test", "hmac-sha256", "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=")
	firstAddr = netip.MustParseAddrPort("192.0.2.1:53")
	otherAddr = netip.MustParseAddrPort("192.0.2.2:53")
)

func mustName(s string) record.Name {
	name, err := record.ParseName(s)
	if err != nil {
		panic(err)
	}
	return name
}

func mustKey(name, algorithm, secret string) tsig.Key {
	key, err := tsig.NewKey(name, algorithm, secret)
	if err != nil {
		panic(err)
	}
	return key
}

// fake is a primary name server as the tests need it. It is reached by pipes, so that it can
// be in a bubble of synctest.
type fake struct {
	key tsig.Key // zero: it knows no key, and signs nothing
	// refuses returns the response code of an update; nil: NOERROR for all.
	refuses func(update []dns.RR) int
	// ignores reports whether a record is not added, without an error; nil: none.
	ignores func(dns.RR) bool
	// answers changes the answer to a question, and is nil if none is changed.
	answers func(q dns.Question, signed bool, answer *dns.Msg)
	// on is called with the number of each update, from 1, before it is looked at, and says
	// what happens to it; nil: it is made.
	on func(update int) action
	// takes is how long an update takes.
	takes time.Duration
	// spoil changes an answer before it is signed, or returns what is sent instead.
	spoil func(answer *dns.Msg, wire []byte) []byte

	mu       sync.Mutex
	records  []dns.RR
	updates  [][]dns.RR // those that were made, or refused
	required [][]dns.RR // the prerequisites of each
	asked    []dns.Question
	dialled  []string
	down     map[string]error // of addresses
	conns    []net.Conn
	notifies chan *dns.Msg
}

// action is what happens to an update.
type action int

const (
	isMade     action = iota
	isDropped         // without an answer, and nothing is answered any more
	closesConn        // it is made, and the connection closed without an answer
)

// lines adds records to the zone.
func (f *fake) lines(lines ...string) *fake {
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		f.set(func() { f.records = append(f.records, rr) })
	}
	return f
}

// zone returns a zone on the fake, which is closed with the test.
func (f *fake) zone(t *testing.T, config Config) *Zone {
	if config.Zone == "" {
		config.Zone = testZone
	}
	if config.Primaries == nil {
		config.Primaries = []netip.AddrPort{firstAddr}
	}
	config.Key = f.key
	z := New(config)
	z.dial = f.dial
	t.Cleanup(z.Close)
	return z
}

func (f *fake) dial(_ context.Context, network, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dialled = append(f.dialled, address)
	if err := f.down[address]; err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	ours, theirs := net.Pipe()
	if network == "udp" {
		go f.hear(theirs)
		return ours, nil
	}
	f.conns = append(f.conns, theirs)
	go f.serve(theirs)
	return ours, nil
}

// closeAll closes all connections, as a server does that ends.
func (f *fake) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	in := make(chan []byte, 1024) // so that the client need not wait until we read
	go func() {
		defer close(in)
		r := bufio.NewReader(c)
		for {
			var length [2]byte
			if _, err := io.ReadFull(r, length[:]); err != nil {
				return
			}
			wire := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(r, wire); err != nil {
				return
			}
			in <- wire
		}
	}()
	for wire := range in {
		for _, answer := range f.answer(wire) {
			if answer == nil {
				return
			}
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
				return
			}
		}
	}
}

// answer returns the answers to a message, nil to close the connection.
func (f *fake) answer(wire []byte) [][]byte {
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		panic(err)
	}
	answer := new(dns.Msg).SetReply(m)
	mac := ""
	if signature := m.IsTsig(); signature != nil {
		mac = signature.MAC
		if err := dns.TsigVerify(wire, f.key.Secret(), "", false); err != nil {
			answer.Rcode = dns.RcodeNotAuth
			answer.SetTsig(signature.Hdr.Name, signature.Algorithm, fudge, time.Now().Unix())
			answer.IsTsig().Error = dns.RcodeBadSig
			packed, _, err := dns.TsigGenerate(answer, f.key.Secret(), mac, false)
			if err != nil {
				panic(err)
			}
			return [][]byte{packed}
		}
	}
	if m.Opcode == dns.OpcodeUpdate {
		time.Sleep(f.takes)
		f.mu.Lock()
		n, on := len(f.updates)+1, f.on
		f.mu.Unlock()
		what := isMade
		if on != nil {
			what = on(n)
		}
		if what == isDropped {
			f.mu.Lock()
			f.updates, f.required = append(f.updates, m.Ns), append(f.required, m.Answer)
			f.mu.Unlock()
			return nil
		}
		answer.Rcode = f.update(m.Answer, m.Ns)
		if what == closesConn {
			return [][]byte{nil}
		}
	} else {
		f.ask(m.Question[0], mac != "", answer)
	}
	return [][]byte{f.sign(answer, mac)}
}

func (f *fake) sign(answer *dns.Msg, mac string) []byte {
	var packed []byte
	var err error
	if mac == "" {
		packed, err = answer.Pack()
	} else {
		answer.SetTsig(f.key.Name.String(), f.key.Algorithm, fudge, time.Now().Unix())
		packed, _, err = dns.TsigGenerate(answer, f.key.Secret(), mac, false)
	}
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	spoil := f.spoil
	f.mu.Unlock()
	if spoil != nil {
		return spoil(answer, packed)
	}
	return packed
}

// set changes how the fake behaves, once it is in use.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// requires does what RFC 2136 §3.2.5 says.
func (f *fake) requires(prerequisites []dns.RR) int {
	type rrset struct {
		name string
		typ  uint16
	}
	wanted := make(map[rrset][]string)
	at := func(name string, typ uint16) (found []string) {
		for _, rr := range f.records {
			if rr.Header().Name == name && (typ == dns.TypeANY || rr.Header().Rrtype == typ) {
				found = append(found, dataOf(rr))
			}
		}
		slices.Sort(found)
		return found
	}
	for _, rr := range prerequisites {
		h := rr.Header()
		there := len(at(h.Name, h.Rrtype)) > 0
		switch {
		case h.Class == dns.ClassINET:
			key := rrset{h.Name, h.Rrtype}
			wanted[key] = append(wanted[key], dataOf(rr))
		case h.Class == dns.ClassANY && !there && h.Rrtype == dns.TypeANY:
			return dns.RcodeNameError
		case h.Class == dns.ClassANY && !there:
			return dns.RcodeNXRrset
		case h.Class == dns.ClassNONE && there && h.Rrtype == dns.TypeANY:
			return dns.RcodeYXDomain
		case h.Class == dns.ClassNONE && there:
			return dns.RcodeYXRrset
		}
	}
	for key, want := range wanted {
		if slices.Sort(want); !slices.Equal(want, at(key.name, key.typ)) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

// update does what RFC 2136 §3.4.2 says.
func (f *fake) update(prerequisites, updates []dns.RR) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates, f.required = append(f.updates, updates), append(f.required, prerequisites)
	if rcode := f.requires(prerequisites); rcode != dns.RcodeSuccess {
		return rcode
	}
	if f.refuses != nil {
		if rcode := f.refuses(updates); rcode != dns.RcodeSuccess {
			return rcode
		}
	}
	for _, rr := range updates {
		h := *rr.Header()
		same := func(old dns.RR) bool { return old.Header().Name == h.Name && old.Header().Rrtype == h.Rrtype }
		switch h.Class {
		case dns.ClassANY:
			f.records = slices.DeleteFunc(f.records, func(old dns.RR) bool {
				return same(old) || h.Rrtype == dns.TypeANY && old.Header().Name == h.Name && old.Header().Rrtype != dns.TypeSOA
			})
		case dns.ClassNONE:
			f.records = slices.DeleteFunc(f.records, func(old dns.RR) bool { return same(old) && dataOf(old) == dataOf(rr) })
		default:
			there := slices.ContainsFunc(f.records, func(old dns.RR) bool { return same(old) && dataOf(old) == dataOf(rr) })
			if !there && (f.ignores == nil || !f.ignores(rr)) {
				f.records = append(f.records, rr)
			}
		}
	}
	return dns.RcodeSuccess
}

func dataOf(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) }

// ask answers from the records, without wildcards and delegations.
func (f *fake) ask(q dns.Question, signed bool, answer *dns.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q)
	answer.Authoritative = true
	if q.Qtype == dns.TypeAXFR {
		soa := slices.IndexFunc(f.records, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
		answer.Answer = slices.Concat(f.records[soa:soa+1], f.records[:soa], f.records[soa:])
		answer.Answer = slices.Concat(answer.Answer[:1], slices.DeleteFunc(slices.Clone(answer.Answer[1:]), func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeSOA
		}), f.records[soa:soa+1])
		return
	}
	exists := false
	for _, rr := range f.records {
		if rr.Header().Name != q.Name {
			continue
		}
		exists = true
		if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME {
			answer.Answer = append(answer.Answer, rr)
		}
	}
	if !exists {
		answer.Rcode = dns.RcodeNameError
	}
	if f.answers != nil {
		f.answers(q, signed, answer)
	}
}

// hear is a secondary.
func (f *fake) hear(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return
	}
	m := new(dns.Msg)
	if err := m.Unpack(buf[:n]); err != nil {
		panic(err)
	}
	f.notifies <- m
	if answer := <-f.notifies; answer != nil {
		packed, err := answer.Pack()
		if err != nil {
			panic(err)
		}
		_, _ = c.Write(packed) // the sender may have given up
	}
	_, _ = io.Copy(io.Discard, c) // until it has
}

// sent returns the updates of each message as the names that they begin with, "-" before
// deletions.
func (f *fake) sent() (messages []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, updates := range f.updates {
		var names []string
		for _, rr := range updates {
			name, _, _ := strings.Cut(rr.Header().Name, ".")
			if rr.Header().Class != dns.ClassINET {
				name = "-" + name
			}
			names = append(names, name)
		}
		messages = append(messages, strings.Join(names, " "))
	}
	return messages
}

// has reports whether a name has records.
func (f *fake) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.records, func(rr dns.RR) bool { return rr.Header().Name == name+"."+zoneName })
}

// text returns a TXT record.
func text(name, value string) record.Record {
	r, err := record.New(testZone, name, "TXT", 60, value)
	if err != nil {
		panic(err)
	}
	return r
}

// matching returns a match of records in presentation format; "" as type or data is any.
func matching(name, typ, data string) record.Match {
	var value *string
	if data != "" {
		value = &data
	}
	owner, err := record.ParseOwner(name, testZone)
	if err != nil {
		panic(err)
	}
	m, err := record.MatchAt(owner, typ, nil, value)
	if err != nil {
		panic(err)
	}
	return m
}

func appending(records ...record.Record) record.Change {
	return record.Change{Op: record.Append, Records: records}
}

func setting(records ...record.Record) record.Change {
	return record.Change{Op: record.Set, Records: records}
}

func deleting(matches ...record.Match) record.Change {
	return record.Change{Op: record.Delete, Matches: matches}
}

// inBubble runs a test with time of its own.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

var errDown = syscall.ECONNREFUSED
