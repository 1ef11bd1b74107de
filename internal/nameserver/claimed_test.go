package nameserver

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// TestClaimedZones: of a zone that is hosted elsewhere, the SOA record is answered, so that clients find
// its name, and nothing else.
func TestClaimedZones(t *testing.T) {
	key := tsigKey(t, "client.example", "one")
	s := servingClients(t, &fakeClients{keys: []tsig.Key{key}}, "example.net", "deep.in.example.net", "sub.example.org", "test")
	for _, test := range []struct{ name, typ, want string }{
		{"example.net", "SOA", "NOERROR AA answer example.net."},
		{"EXAMPLE.net", "SOA", "NOERROR AA answer EXAMPLE.net."},
		{"www.example.net", "SOA", "NXDOMAIN AA authority example.net."},
		{"_acme-challenge.www.example.net", "SOA", "NOERROR AA authority example.net."},
		{"x.deep.in.example.net", "SOA", "NXDOMAIN AA authority deep.in.example.net."},
		{"in.example.net", "SOA", "NXDOMAIN AA authority example.net."},
		{"a.b.c.test", "SOA", "NXDOMAIN AA authority test."},
		{"example.net", "NS", "REFUSED"},
		{"example.net", "TXT", "REFUSED"},
		{"_acme-challenge.www.example.net", "TXT", "REFUSED"},
		{"example.net", "ANY", "REFUSED"},
		{"net", "SOA", "REFUSED"},
		{"example.com", "SOA", "REFUSED"},
		{".", "SOA", "REFUSED"},
		{"x.sub.example.org", "SOA", "NXDOMAIN AA authority example.org."}, // of which all is served
		{"example.org", "SOA", "NOERROR AA answer example.org."},
	} {
		for _, by := range []string{"anyone", "a client"} {
			m := question(dns.Fqdn(test.name), dns.StringToType[test.typ])
			message := packed(t, m)
			if by == "a client" {
				message, _ = signed(t, m, key, time.Now())
			}
			for _, udp := range []bool{true, false} {
				answer := new(dns.Msg)
				if err := answer.Unpack(exchangePacked(s, message, udp)); err != nil {
					t.Fatal(err)
				}
				got := dns.RcodeToString[answer.Rcode]
				if answer.Authoritative {
					got += " AA"
				}
				for _, r := range answer.Answer {
					got += " answer " + r.Header().Name
				}
				for _, r := range answer.Ns {
					if _, isSOA := r.(*dns.SOA); isSOA {
						got += " authority " + r.Header().Name
					}
				}
				if !strings.EqualFold(got, test.want) {
					t.Errorf("%s %s by %s: %s, want %s", test.name, test.typ, by, got, test.want)
				}
			}
		}
	}
	// Without clients, no zone is claimed.
	without := open(t, storePath(t))
	if err := without.Serve(Settings{Zones: []ZoneConfig{zoneConfig(t, "example.org")}, Claimed: []record.Name{name(t, "example.net")}}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, without, "example.net", "SOA").Rcode; got != dns.RcodeRefused {
		t.Errorf("without clients: %s", dns.RcodeToString[got])
	}
}

// listed returns the records of a zone with n hosts, one after the other.
func listed(t testing.TB, zone record.Name, n int) iter.Seq[record.Record] {
	soa := rr(t, zone, "@ 60 SOA ns.elsewhere. hostmaster.elsewhere. 7 1 1 1 1")
	ns := rr(t, zone, "@ 3600 NS ns.elsewhere.")
	return func(yield func(record.Record) bool) {
		if !yield(soa) || !yield(ns) {
			return
		}
		for i := range n {
			if !yield(rr(t, zone, fmt.Sprintf("host%d 60 TXT %0200d", i, i))) || !yield(rr(t, zone, fmt.Sprintf("host%d 300 A 192.0.2.1", i))) {
				return
			}
		}
	}
}

// TestClaimedZonesAreListed: a client lists a zone that is hosted elsewhere by transfer, each message of
// which is signed.
func TestClaimedZonesAreListed(t *testing.T) {
	key, other := tsigKey(t, "client.example", "one"), tsigKey(t, "other.example", "two")
	const hosts = 500
	clients := &fakeClients{
		keys:    []tsig.Key{key, other},
		records: func(zone record.Name) (iter.Seq[record.Record], error) { return listed(t, zone, hosts), nil },
		transfer: func(key, zone record.Name, to netip.Addr) error {
			if key == other.Name || to != netip.MustParseAddr("127.0.0.1") {
				return errors.New("that is not yours")
			}
			return nil
		},
	}
	s := servingClients(t, clients, "example.net")
	udp, tcp := listen(t, s, "127.0.0.1")
	want := make(map[string]bool)
	for r := range listed(t, name(t, "example.net"), hosts) {
		if r.Type != record.TypeSOA {
			want[r.String()] = true
		}
	}
	for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
		m := new(dns.Msg)
		if m.SetAxfr("Example.net."); qtype == dns.TypeIXFR {
			m.SetIxfr("Example.net.", 1, "ns.", "hostmaster.")
		}
		message, mac := signed(t, m, key, time.Now())
		conn := dial(t, "tcp", tcp.Addr().String())
		writeTCP(t, conn, string(message))
		var records []dns.RR
		messages := 0
		for soas := 0; soas < 2; messages++ {
			raw := readTCP(t, conn)
			answer := new(dns.Msg)
			if err := answer.Unpack(slices.Clone(raw)); err != nil || answer.Rcode != dns.RcodeSuccess || answer.Id != m.Id {
				t.Fatalf("%v, %v", answer, err)
			}
			if answer.IsTsig() == nil {
				t.Fatalf("message %d is not signed", messages)
			}
			if err := dns.TsigVerify(raw, key.Secret(), mac, messages > 0); err != nil {
				t.Fatalf("message %d: %v", messages, err)
			}
			mac = answer.IsTsig().MAC
			for _, r := range answer.Answer {
				if _, isSOA := r.(*dns.SOA); isSOA {
					soas++
				}
			}
			records = append(records, answer.Answer...)
		}
		if messages < 3 {
			t.Errorf("%d messages", messages)
		}
		got := make(map[string]bool)
		for _, r := range records[1 : len(records)-1] {
			one, err := record.FromRR(r)
			if err != nil {
				t.Fatal(err)
			}
			got[one.String()] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dns.TypeToString[qtype], diff)
		}
	}

	// As clients of the library do it.
	transfer := &dns.Transfer{TsigSecret: map[string]string{key.Name.String(): key.Secret()}}
	m := new(dns.Msg).SetAxfr("example.net.")
	m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
	envelopes, err := transfer.In(m, tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for e := range envelopes {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		n += len(e.RR)
	}
	if n != len(want)+2 {
		t.Errorf("the library has %d records, want %d", n, len(want)+2)
	}
	clients.refusals()

	// A client without the right, or one that asks in another way, gets nothing.
	for _, test := range []struct {
		name, zone, network string
		key                 tsig.Key
		qtype               uint16
		refusals            int // of which the clients are told
	}{
		{"by one who has no right", "example.net", "tcp", other, dns.TypeAXFR, 1},
		{"not signed", "example.net", "tcp", tsig.Key{}, dns.TypeAXFR, 0},
		{"of a name below", "www.example.net", "tcp", key, dns.TypeAXFR, 1},
		{"of what is not claimed", "example.com", "tcp", key, dns.TypeAXFR, 1},
		{"over UDP", "example.net", "udp", key, dns.TypeAXFR, 1},
		{"a difference over UDP", "example.net", "udp", key, dns.TypeIXFR, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := new(dns.Msg)
			if m.SetAxfr(dns.Fqdn(test.zone)); test.qtype == dns.TypeIXFR {
				m.SetIxfr(dns.Fqdn(test.zone), 1, "ns.", "hostmaster.")
			}
			client, addr := byKey(test.network, test.key), tcp.Addr()
			if test.network == "udp" {
				addr = udp.LocalAddr()
			}
			if !test.key.IsZero() {
				m.SetTsig(test.key.Name.String(), test.key.Algorithm, 300, time.Now().Unix())
			}
			answer, _, err := client.Exchange(m, addr.String())
			if err != nil || answer.Rcode != dns.RcodeRefused || len(answer.Answer) > 0 {
				t.Fatalf("%v, %v", answer, err)
			}
			if n := len(clients.refusals()); n != test.refusals {
				t.Errorf("%d refusals, want %d", n, test.refusals)
			}
		})
	}
	clients.records = nil
	m = new(dns.Msg).SetAxfr("example.net.")
	m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
	client := byKey("tcp", key)
	if answer, _, err := client.Exchange(m, tcp.Addr().String()); err != nil || answer.Rcode == dns.RcodeSuccess || answer.IsTsig() == nil {
		t.Errorf("while it cannot be read: %v, %v", answer, err)
	}
}

// TestZonesAreListedByClients: a client gets of a zone that is served here what a secondary gets.
func TestZonesAreListedByClients(t *testing.T) {
	key, other := tsigKey(t, "client.example", "one"), tsigKey(t, "other.example", "two")
	s := servingClients(t, &fakeClients{keys: []tsig.Key{key, other}, transfer: func(key, _ record.Name, _ netip.Addr) error {
		if key == other.Name {
			return errors.New("that is not yours")
		}
		return nil
	}})
	zone := name(t, "example.org")
	apply(t, s, zone, appending(rr(t, zone, "www 60 TXT x"), rr(t, zone, "_acme-challenge.www 0 TXT y")))
	c := client{s, "127.0.0.1", key}
	records := c.transfer(t, zone, dns.TypeAXFR, 0)
	if diff := cmp.Diff(stored(t, snapshot(t, s, zone)), texts(records[1:len(records)-1])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	request, _ := client{s, "127.0.0.1", other}.request(t, zone, dns.TypeAXFR, 0)
	if got := c.outcome(t, request, false); got != "REFUSED" {
		t.Errorf("who may not: %s", got)
	}
	request, _ = client{s, "127.0.0.1", tsig.Key{}}.request(t, zone, dns.TypeAXFR, 0)
	if got := c.outcome(t, request, false); got != "REFUSED" {
		t.Errorf("unsigned: %s", got)
	}
}

// FuzzAcceptUpdate takes any message as an update, as it is and signed: what is accepted is signed by a
// client, and the answer can be read.
func FuzzAcceptUpdate(f *testing.F) {
	key := tsigKey(f, "client.example", "one")
	clients := &fakeClients{keys: []tsig.Key{key}}
	var logged bytes.Buffer
	s, err := Open(Options{Path: storePath(f), Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	if err := s.Serve(Settings{Zones: []ZoneConfig{zoneConfig(f, "example.org")}, Clients: clients, Claimed: []record.Name{name(f, "example.net")}}); err != nil {
		f.Fatal(err)
	}
	for _, change := range [][]func(*dns.Msg){nil, {func(m *dns.Msg) { m.SetEdns0(1232, true) }}, {func(m *dns.Msg) { m.Compress = true; m.Insert(m.Ns) }}} {
		message, _ := signed(f, updateOf("example.org", change...), key, time.Now())
		f.Add(message, false)
		f.Add(packed(f, updateOf("example.org", change...)), true)
		f.Add(signedMD5(f, updateOf("example.org", change...), key), false)
		f.Add(shortened(f, message, 16), false)
	}
	f.Fuzz(func(t *testing.T, message []byte, sign bool) {
		if !isUpdate(message) {
			return
		}
		if sign && len(message) < 60_000 {
			message = key.NewSigner(nil).Sign(slices.Clone(message), time.Now())
		}
		before := slices.Clone(message)
		r := &responder{server: s, from: netip.MustParseAddr("127.0.0.1")}
		v := s.view.Load()
		sig, answer := r.acceptUpdate(v, message, nil, true)
		if string(before) != string(message) {
			t.Error("the message has changed")
		}
		if sig != nil {
			if !sig.ofClient || sig.key.Name != key.Name {
				t.Fatalf("accepted: %+v", sig)
			}
			if new(dns.Msg).Unpack(message) == nil { // the library reads fewer
				if err := dns.TsigVerify(slices.Clone(message), key.Secret(), "", false); errors.Is(err, dns.ErrSig) || errors.Is(err, dns.ErrNoSig) {
					t.Errorf("accepted, and the library: %v", err)
				}
			}
			answer = s.makeUpdate(v, message, sig, r.from)
		}
		if logged.Len() > 0 || answer == nil {
			t.Fatalf("answer %x; %s", answer, logged.String())
		}
		m := new(dns.Msg)
		if err := m.Unpack(slices.Clone(answer)); err != nil && len(message) < 600 {
			t.Fatalf("answer %x: %v", answer, err)
		}
		if answer[2]&flagResponse == 0 || string(answer[:2]) != string(message[:2]) || answer[2]&opcodeMask != dns.OpcodeUpdate<<3 || len(answer) > maxUDPSize+len(message) {
			t.Errorf("answer %x", answer)
		}
		clients.refusals()
		clients.mu.Lock()
		clients.updates = nil
		clients.mu.Unlock()
	})
}
