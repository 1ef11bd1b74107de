package nsquery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

func name(t testing.TB, text string) record.Name {
	t.Helper()
	n, err := record.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serve answers by a function, at a port of this machine, over UDP and TCP. Over which one it
// was asked, the function sees too. It returns where.
func serve(t testing.TB, answer func(q *dns.Msg, network string) *dns.Msg) netip.AddrPort {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	err := errors.New("not tried")
	for try := 0; err != nil && try < 20; try++ { // the port of one may be taken for the other
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err != nil {
			tcp.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for network, server := range map[string]*dns.Server{"tcp": {Listener: tcp}, "udp": {PacketConn: udp}} {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if m := answer(q, network); m != nil {
				w.WriteMsg(m)
			}
		})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return netip.MustParseAddrPort(udp.LocalAddr().String())
}

// reply answers with authority, with records in presentation format.
func reply(q *dns.Msg, records ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	m.Answer = rrs(records...)
	return m
}

func rrs(records ...string) (list []dns.RR) {
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		list = append(list, rr)
	}
	return list
}

// TestAsk has a server answer in ways that are answers, and in ways that are not.
func TestAsk(t *testing.T) {
	const text = "asked.test. 60 IN TXT \"here\""
	for _, test := range []struct {
		name    string
		answer  func(q *dns.Msg, network string) *dns.Msg
		want    string // the texts, or why there are none
		alsoTCP bool
	}{
		{"at once", func(q *dns.Msg, _ string) *dns.Msg { return reply(q, text) }, "here", false},
		{"bytes that are escaped in a master file", func(q *dns.Msg, _ string) *dns.Msg {
			return reply(q, `asked.test. 60 IN TXT "a\"b\\" "\009;\255"`)
		}, "a\"b\\\t;\xff", false},
		{"in capitals", func(q *dns.Msg, _ string) *dns.Msg {
			m := reply(q, text)
			m.Question[0].Name = "ASKED.test."
			return m
		}, "here", false},
		{"truncated", func(q *dns.Msg, network string) *dns.Msg {
			m := reply(q, text)
			if m.Truncated = network == "udp"; m.Truncated {
				m.Answer = nil
			}
			return m
		}, "here", false},
		{"truncated, no TCP", func(q *dns.Msg, network string) *dns.Msg {
			if network == "tcp" {
				return nil
			}
			m := reply(q, text)
			m.Truncated = true
			return m
		}, "no answer", true},
		{"no UDP", func(q *dns.Msg, network string) *dns.Msg {
			if network == "udp" {
				return nil
			}
			return reply(q, text)
		}, "here", true},
		{"no UDP, TCP not tried", func(q *dns.Msg, network string) *dns.Msg {
			if network == "udp" {
				return nil
			}
			return reply(q, text)
		}, "no answer", false},
		{"refused", func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) }, "answers REFUSED", false},
		{"a code without a name", func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, 14) }, "answers code 14", false},
		{"another id", func(q *dns.Msg, network string) *dns.Msg { m := reply(q, text); m.Id++; return m }, "no answer", false},
		{"another name", func(q *dns.Msg, _ string) *dns.Msg {
			m := reply(q, text)
			m.Question[0].Name = "other.test."
			return m
		}, "the answer is to another question", false},
		{"another type", func(q *dns.Msg, _ string) *dns.Msg {
			m := reply(q, text)
			m.Question[0].Qtype = dns.TypeA
			return m
		}, "the answer is to another question", false},
		{"another class", func(q *dns.Msg, _ string) *dns.Msg {
			m := reply(q, text)
			m.Question[0].Qclass = dns.ClassCHAOS
			return m
		}, "the answer is to another question", false},
		{"no question", func(q *dns.Msg, _ string) *dns.Msg { m := reply(q, text); m.Question = nil; return m }, "the answer is to another question", false},
		{"a question", func(q *dns.Msg, _ string) *dns.Msg { m := reply(q, text); m.Response = false; return m }, "the answer is to another question", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, test.answer).String()
			client := &Client{UDPTimeout: 100 * time.Millisecond, AlsoTCP: test.alsoTCP}
			answer := client.Ask(t.Context(), address, Question{Name: name(t, "asked.test"), Type: dns.TypeTXT})
			got := strings.Join(answer.Texts(), " ")
			if answer.Failed() {
				got = answer.Failure()
			}
			if got != test.want {
				t.Errorf("%q, want %q: %+v", got, test.want, answer)
			}
		})
	}
}

// TestAskEnds has a server that is silent, and a caller that does not wait for it.
func TestAskEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := serve(t, func(*dns.Msg, string) *dns.Msg { cancel(); return nil })
	client := &Client{UDPTimeout: time.Hour, AlsoTCP: true}
	if answer := client.Ask(ctx, address.String(), Question{Name: record.Root, Type: dns.TypeNS}); !errors.Is(answer.Err, context.Canceled) {
		t.Errorf("%+v", answer)
	}
}

// TestAskAll keeps the order of the servers, also of one without an address, and more of them
// than are asked at once.
func TestAskAll(t *testing.T) {
	var servers []Server
	for i := range 40 {
		if i == 7 {
			servers = append(servers, Server{Name: name(t, "nowhere.test")})
			continue
		}
		at := serve(t, func(q *dns.Msg, _ string) *dns.Msg { return reply(q, fmt.Sprintf("asked.test. 60 IN TXT %d", i)) })
		servers = append(servers, Server{Name: name(t, "here.test"), Address: at})
	}
	q := Question{Name: name(t, "asked.test"), Type: dns.TypeTXT}
	client := new(Client)
	for network, answers := range map[string][]Answer{
		"both": client.AskAll(t.Context(), servers, q), "udp": client.AskAllOver(t.Context(), "udp", servers, q), "tcp": client.AskAllOver(t.Context(), "tcp", servers, q),
	} {
		for i, answer := range answers {
			if texts := answer.Texts(); i == 7 && !errors.Is(answer.Err, ErrNoAddress) || i != 7 && !slices.Equal(texts, []string{fmt.Sprint(i)}) {
				t.Errorf("%s, %d: %v %v", network, i, texts, answer.Err)
			}
		}
	}
}

// TestPanic has a panic arrive where it can be recovered.
func TestPanic(t *testing.T) {
	defer func() {
		if p := recover(); p != "one" {
			t.Errorf("recovered %v", p)
		}
	}()
	parallel(3, func(i int) {
		if i == 1 {
			panic("one")
		}
	})
	t.Error("no panic")
}

// TestZoneOf asks for zones by answers as resolvers give them. That of an alias is not that
// of its target.
func TestZoneOf(t *testing.T) {
	soa := func(zone string) []dns.RR { return rrs(zone + " 60 IN SOA ns. m. 1 1 1 1 1") }
	at := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		m := reply(q)
		switch q.Question[0].Name {
		case "www.sub.example.org.": // an alias, with its target's zone
			m.Answer, m.Ns = rrs("www.sub.example.org. 60 IN CNAME www.example.org."), soa("example.org.")
		case "sub.example.org.", "example.org.", ".":
			m.Answer = soa(q.Question[0].Name)
		case "absent.org.":
			m.Rcode, m.Ns = dns.RcodeNameError, soa("org.")
		case "failing.org.":
			m.Rcode = dns.RcodeServerFailure
		}
		return m
	})
	r := &Resolver{Client: new(Client), Addresses: []string{at.String()}}
	for text, want := range map[string]string{
		"www.sub.example.org": "sub.example.org.", "www.example.org": "example.org.", "a.b.c.example.org": "example.org.",
		"absent.org": "org.", "Example.ORG": "example.org.", ".": ".",
	} {
		if got, err := r.ZoneOf(t.Context(), name(t, text)); got.String() != want || err != nil {
			t.Errorf("zone of %s: %s %v, want %s", text, got, err, want)
		}
	}
	_, err := r.ZoneOf(t.Context(), name(t, "failing.org"))
	if want := "the resolver answers SERVFAIL for failing.org SOA"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestBounds has answers as long as their authors like.
func TestBounds(t *testing.T) {
	zone := name(t, "long.test")
	d := &Delegation{Zone: zone, Parent: name(t, "test"), Glue: make(map[record.Name][]netip.Addr)}
	for i := range 4 {
		a := Answer{Question: Question{Name: zone, Type: dns.TypeNS}}
		for j := range 500 {
			ns := fmt.Sprintf("ns%d-%d.long.test.", i, j)
			a.Authority = append(a.Authority, rrs("long.test. 60 IN NS "+ns)...)
			for k := range 20 {
				a.Additional = append(a.Additional, rrs(fmt.Sprintf("%s 60 IN A 192.0.2.%d", ns, k))...)
			}
		}
		d.add(Server{}, a)
	}
	if len(d.Names) != mostNames {
		t.Errorf("%d names", len(d.Names))
	}
	servers := Servers(t.Context(), d.Names, func(_ context.Context, name record.Name) []netip.Addr { return d.Glue[name] })
	if len(servers) != mostServers || len(d.Glue[d.Names[0]]) != mostAddresses {
		t.Errorf("%d servers, %d addresses of one", len(servers), len(d.Glue[d.Names[0]]))
	}
}

// FuzzAnswer reads whatever a server may send.
func FuzzAnswer(f *testing.F) {
	question := new(dns.Msg).SetQuestion("sub.long.test.", dns.TypeNS)
	for _, records := range [][]string{
		{}, {"sub.long.test. 60 IN NS ns.sub.long.test.", "ns.sub.long.test. 60 IN A 192.0.2.1"},
		{"long.test. 60 IN SOA ns. m. 1 1 1 1 1"}, {"sub.long.test. 60 IN CNAME \\255\\000$.test."}, {"sub.long.test. 60 IN TXT a b"},
	} {
		m := reply(question, records...)
		m.Ns, m.Extra = m.Answer, m.Answer
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		zone := name(t, "sub.long.test")
		a := Answer{
			Question: Question{Name: zone, Type: dns.TypeNS}, Rcode: m.Rcode, Authoritative: m.Authoritative,
			Records: m.Answer, Authority: m.Ns, Additional: m.Extra,
		}
		d := &Delegation{Zone: zone, Parent: name(t, "test"), Glue: make(map[record.Name][]netip.Addr)}
		if between := d.add(Server{}, a); between != "" && (!zone.In(between) || !between.In(d.Parent) || between == zone || between == d.Parent) {
			t.Errorf("%s is between %s and %s", between, zone, d.Parent)
		}
		if holder := a.zone(); holder != "" && !zone.In(holder) {
			t.Errorf("%s is in zone %s", zone, holder)
		}
		if soa := a.SOA(); soa != nil && nameOf(soa.Hdr.Name) != zone {
			t.Errorf("the SOA record of %s", soa.Hdr.Name)
		}
		for _, n := range append(d.Names, a.CNAME()) {
			if again, err := record.NameFromWire([]byte(n)); n != "" && (err != nil || again != n) {
				t.Errorf("%q: %v", n, err)
			}
		}
		a.Texts()
	})
}
