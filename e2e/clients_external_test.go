package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file does what external-dns does, whose provider for RFC 2136 uses the same DNS library: it lists
// the zone by a transfer, and makes changes in batches by TCP.

// external is external-dns with a zone. Beside each record it has a TXT record which says whose that is.
type external struct {
	t          *testing.T
	zone, addr string
	key        harness.Key
	longest    int // bytes of the longest update
}

// secrets is the key as the DNS library takes it.
func (e *external) secrets() map[string]string {
	return map[string]string{dns.Fqdn(e.key.Name): e.key.Secret}
}

// sign has the library sign a message when it sends it.
func (e *external) sign(m *dns.Msg) {
	m.SetTsig(dns.Fqdn(e.key.Name), dns.HmacSHA256, 300, time.Now().Unix())
}

func TestExternalDNS(t *testing.T) {
	t.Parallel()
	var runs []*clientRun
	var config strings.Builder
	for n, zone := range []string{clientsBuiltin, clientsKnot} {
		r := newClientRun(clientRow{client: "external-dns", zone: zone}, n)
		runs = append(runs, r)
		fmt.Fprintf(&config, "client %s {\n\ttsig %s hmac-sha256 %s\n\tallow under %s\n}\n", r.id, r.key.Name, r.key.Secret, zone)
	}
	host := newClientRun(clientRow{zone: clientsBuiltin}, len(runs)) // which may not read all of the zone
	config.WriteString(host.config())
	w := newClientsWorld(t, config.String(), nil)
	for _, r := range runs {
		t.Run(r.zone, func(t *testing.T) {
			t.Parallel()
			(&external{t: t, zone: r.zone, addr: w.dns + ":53", key: r.key}).run()
			for _, op := range []string{"append", "update", "delete"} {
				w.service.Log.AwaitAudit(t, r.id, externalServices/externalBatch, func(l harness.AuditLine) bool {
					return l.Outcome == "changed" && l.Protocol == byUpdate && l.Op == op
				})
			}
		})
	}
	limited := &external{t: t, zone: clientsBuiltin, addr: w.dns + ":53", key: host.key}
	if records, messages, err := limited.list(); err == nil || err.Error() != fmt.Sprintf("dns: bad xfr rcode: %d", dns.RcodeRefused) || messages > 0 {
		t.Errorf("a client that may not read all of the zone lists %q in %d messages: %v", records, messages, err)
	}
}

// externalServices is the number of services, and externalBatch how many of them one update changes.
const externalServices, externalBatch = 300, 50

// externalChange replaces one record by another; "" is no record.
type externalChange struct{ old, new string }

func (e *external) run() {
	before, _ := e.mustList()
	var created, updated []string
	for i := range externalServices {
		name := fmt.Sprintf("svc%d.%s.", i, e.zone)
		owner := fmt.Sprintf("a-%s 300 IN TXT \"heritage=external-dns,external-dns/owner=default,external-dns/resource=service/default/svc%d%s\"", name, i, strings.Repeat("-long", 20))
		created = append(created, fmt.Sprintf("%s 300 IN A 192.0.2.%d", name, i%200), owner)
		updated = append(updated, fmt.Sprintf("%s 60 IN A 198.51.100.%d", name, i%200), owner) // which is deleted and added again
	}
	var create, update, remove []externalChange
	for i := range created {
		create = append(create, externalChange{new: created[i]})
		update = append(update, externalChange{created[i], updated[i]})
		remove = append(remove, externalChange{old: updated[i]})
	}
	for _, step := range []struct {
		name    string
		changes []externalChange
		left    []string
	}{{"create", create, created}, {"update", update, updated}, {"delete", remove, nil}} {
		for batch := range slices.Chunk(step.changes, 2*externalBatch) {
			e.apply(batch)
		}
		got, messages := e.mustList()
		want := append(parsed(e.t, step.left), before...)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			e.t.Fatalf("after %s (-want +got):\n%s", step.name, diff)
		}
		if step.left != nil && messages < 2 {
			e.t.Errorf("after %s, the transfer has %d messages", step.name, messages)
		}
	}
	if e.longest <= 4096 {
		e.t.Errorf("the longest update has %d bytes", e.longest)
	}
}

// parsed returns records as a list has them.
func parsed(t testing.TB, records []string) (list []string) {
	t.Helper()
	for _, text := range records {
		list = append(list, harness.Must(dns.NewRR(text))(t).String())
	}
	return list
}

// apply makes changes by one update. The library verifies the signature of the answer, if it has one.
func (e *external) apply(changes []externalChange) {
	e.t.Helper()
	m := new(dns.Msg).SetUpdate(dns.Fqdn(e.zone))
	for _, c := range changes {
		if c.old != "" {
			m.Remove([]dns.RR{harness.Must(dns.NewRR(c.old))(e.t)})
		}
		if c.new != "" {
			m.Insert([]dns.RR{harness.Must(dns.NewRR(c.new))(e.t)})
		}
	}
	e.longest = max(e.longest, m.Len())
	e.sign(m)
	client := &dns.Client{Net: "tcp", Timeout: harness.ExchangeTimeout, TsigSecret: e.secrets()}
	answer, _, err := client.Exchange(m, e.addr)
	if err != nil || answer.Rcode != dns.RcodeSuccess {
		e.t.Fatalf("updating %s: %v, %v", e.zone, err, answer)
	}
	if signature := answer.IsTsig(); signature == nil || signature.Algorithm != dns.HmacSHA256 {
		e.t.Fatalf("the answer to an update of %s is not signed as the update was: %v", e.zone, answer)
	}
}

func (e *external) mustList() (records []string, messages int) {
	e.t.Helper()
	records, messages, err := e.list()
	if err != nil {
		e.t.Fatal(err)
	}
	return records, messages
}

// list transfers the zone and returns its records but SOA and NS. The library refuses a message without
// a valid signature.
func (e *external) list() (records []string, messages int, err error) {
	m := new(dns.Msg).SetAxfr(dns.Fqdn(e.zone))
	e.sign(m)
	transfer := &dns.Transfer{ReadTimeout: harness.ExchangeTimeout, TsigSecret: e.secrets()}
	envelopes, err := transfer.In(m, e.addr)
	if err != nil {
		return nil, 0, err
	}
	for envelope := range envelopes {
		if envelope.Error != nil {
			err = envelope.Error
			continue
		}
		messages++
		for _, rr := range envelope.RR {
			if t := rr.Header().Rrtype; t != dns.TypeSOA && t != dns.TypeNS {
				records = append(records, rr.String())
			}
		}
	}
	slices.Sort(records)
	return records, messages, err
}
