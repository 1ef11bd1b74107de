package nameserver

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// Queries are counted whichever way they are answered, and stay so when
// configurations change.
func TestCounters(t *testing.T) {
	s := questionServer(t)
	r := &responder{server: s, shard: 3}
	buf := make([]byte, 0, writerBuffer)
	class := func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }
	opcode := func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }
	local := edns(1232, func(o *dns.OPT) { o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001}) })
	for _, q := range []*dns.Msg{
		question("text.example.org.", dns.TypeTXT),
		question("TEXT.example.org.", dns.TypeTXT, edns(1232)),
		question("text.example.org.", dns.TypeTXT, local),
		question("caa.example.org.", dns.TypeCAA),
		question("missing.example.org.", dns.TypeA),
		question("missing.example.org.", dns.TypeA, local),
		question("www.hosted.example.org.", dns.TypeANY),
		question("www.hosted.example.org.", 0),
		question("www.hosted.example.org.", 65280),
		question("example.net.", dns.TypeA),
		question("version.bind.", dns.TypeTXT, class),
		question("example.org.", dns.TypeSOA, opcode),
		question("example.org.", dns.TypeSOA, edns(1232, func(o *dns.OPT) { o.SetVersion(1) })),
	} {
		r.answer(s.view.Load(), packed(t, q), buf)
	}
	r = &responder{server: s}
	overTCP(r, packed(t, question("text.example.org.", dns.TypeTXT)))
	overTCP(r, make([]byte, headerLen))
	update := packed(t, new(dns.Msg).SetUpdate("example.org."))
	q := r.parseUpdate(update)
	q.rcode = dns.RcodeNotZone
	r.finishUpdate(&q, update, nil, nil)

	serve(t, s, zoneConfig(t, "example.org"))
	var got []string
	for _, c := range s.QueryCounts() {
		got = append(got, fmt.Sprintf("%s %s %s %d", c.Zone, c.Type, c.Rcode, c.Queries))
	}
	want := []string{
		" other FORMERR 1",
		" other NOTIMP 1",
		" A REFUSED 1",
		" SOA BADVERS 1",
		" TXT REFUSED 1",
		" UPDATE NOTZONE 1",
		"hosted.example.org. other NOERROR 2",
		"hosted.example.org. ANY NOERROR 1",
		"example.org. A NXDOMAIN 2",
		"example.org. CAA NOERROR 1",
		"example.org. TXT NOERROR 4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
