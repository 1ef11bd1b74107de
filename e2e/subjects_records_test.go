package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// lines writes records so that they can be compared, with the Go type that they
// have, in an order that is always the same.
func lines(recs []libdns.Record) []string {
	out := make([]string, len(recs))
	for i, rec := range recs {
		out[i] = line(rec)
	}
	slices.Sort(out)
	return out
}

func line(rec libdns.Record) string {
	r, err := api.FromLibdns(rec)
	if err != nil {
		return fmt.Sprintf("%T %v", rec, err)
	}
	data := "(none)"
	if r.Data != nil {
		data = fmt.Sprintf("%q", *r.Data)
	}
	return fmt.Sprintf("%T %s %s %s %s", rec, r.Name, rec.RR().TTL, r.Type, data)
}

// contents returns the records in zone, as [lines], without those that the zone
// has by itself, each of which must be there once.
func contents(t testing.TB, p *bestdns.Provider, zone string, made []string) []string {
	t.Helper()
	recs, err := p.GetRecords(t.Context(), zone)
	if err != nil {
		t.Fatalf("reading the records of %s: %v", zone, err)
	}
	var own []libdns.Record
	missing := slices.Clone(made)
	for _, rec := range recs {
		rr := rec.RR()
		if i := slices.Index(missing, rr.Name+" "+rr.Type); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		own = append(own, rec)
	}
	if len(missing) > 0 {
		t.Errorf("the zone %s has no %q", zone, missing)
	}
	return lines(own)
}

// assertRecords fails the test unless the zone has just these records, by libdns
// and by DNS.
func (s Subject) assertRecords(t testing.TB, zone string, made []string, want []libdns.Record) {
	t.Helper()
	if diff := cmp.Diff(lines(want), contents(t, s.Service, zone, made)); diff != "" {
		t.Errorf("the records of %s (-want +got):\n%s", zone, diff)
	}
	server := s.DNS
	if zone == s.Challenge {
		server = s.ChallengeDNS
	}
	for question, want := range rrsets(t, zone, want) {
		if got := ask(t, server, question); !sameRRset(want, got) {
			t.Errorf("DNS has %v at %s, and should have %v", got, question.Name, want)
		}
	}
}

// rrsets returns the records by what to ask a name server for them.
func rrsets(t testing.TB, zone string, recs []libdns.Record) map[dns.Question][]record.Record {
	t.Helper()
	apex := harness.Must(record.ParseName(zone))(t)
	sets := make(map[dns.Question][]record.Record)
	for _, rec := range recs {
		r := harness.Must(api.FromLibdns(rec))(t)
		data := "" // an empty text is absent
		if r.Data != nil {
			data = *r.Data
		}
		parsed := harness.Must(record.New(apex, r.Name, r.Type, 0, data))(t)
		q := dns.Question{Name: parsed.Name.String(), Qtype: uint16(parsed.Type), Qclass: dns.ClassINET}
		sets[q] = append(sets[q], parsed)
	}
	return sets
}

// ask returns the records of an answer, their TTLs left out.
func ask(t testing.TB, server string, q dns.Question) []record.Record {
	t.Helper()
	query := &dns.Msg{Question: []dns.Question{q}}
	query.Id = dns.Id()
	answer, _, err := (&dns.Client{Net: "tcp", Timeout: harness.ExchangeTimeout}).Exchange(query, server)
	if err != nil {
		t.Fatalf("asking for %s: %v", q.Name, err)
	}
	var recs []record.Record
	for _, rr := range answer.Answer {
		buf := make([]byte, dns.MaxMsgSize)
		end := harness.Must(dns.PackRR(rr, buf, 0, nil, false))(t)
		start := harness.Must(dns.PackDomainName(rr.Header().Name, make([]byte, 255), 0, nil, false))(t) + 10 // after type, class, TTL and length
		recs = append(recs, record.Record{
			Name: harness.Must(record.ParseName(rr.Header().Name))(t),
			Type: record.Type(rr.Header().Rrtype),
			Data: string(buf[start:end]),
		})
	}
	return recs
}

// sameRRset compares without regard to order.
func sameRRset(want, got []record.Record) bool {
	if len(want) != len(got) {
		return false
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, w.Same) {
			return false
		}
	}
	return true
}
