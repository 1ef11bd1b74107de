package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/rfc2136"
)

// BenchmarkRFC2136 compares changes by package rfc2136 with direct ones: those of clients
// that have a TCP connection each, which they keep, and look at nothing. A pair appends a TXT
// record at a name of the client and deletes it. Both run in turns of a second, a round, so
// that what else the machine does concerns both.
//
//	go test -run '^$' -bench RFC2136 -benchtime 10x .
func BenchmarkRFC2136(b *testing.B) {
	for _, p := range updatedPrimaries {
		b.Run(p.name, func(b *testing.B) {
			zone := newUpdatedZone(b)
			p.start(b, zone)
			for _, clients := range []int{1, 16, 64} {
				b.Run(fmt.Sprint(clients), func(b *testing.B) { compareWithDirect(b, zone, clients) })
			}
		})
	}
}

func compareWithDirect(b *testing.B, zone harness.Zone, clients int) {
	z := rfc2136.New(rfc2136Config(b, zone))
	defer z.Close()
	var ours, direct pairs
	for b.Loop() {
		direct.round(clients, func(ctx context.Context, client int) changer { return newDirectClient(ctx, zone, client) })
		ours.round(clients, func(_ context.Context, client int) changer { return newZoneClient(z, client) })
	}
	b.ReportMetric(0, "ns/op") // the sum of both says nothing
	b.ReportMetric(direct.rate(), "direct-pairs/s")
	b.ReportMetric(ours.rate(), "pairs/s")
	b.ReportMetric(ours.rate()/direct.rate(), "of-direct")
	b.ReportMetric(direct.quantile(0.5), "direct-p50-ms")
	b.ReportMetric(ours.quantile(0.5), "p50-ms")
	b.ReportMetric(direct.quantile(0.99), "direct-p99-ms")
	b.ReportMetric(ours.quantile(0.99), "p99-ms")
	if ours.failed != nil {
		b.Error(ours.failed)
	}
	if direct.done == 0 {
		b.Error(direct.failed)
	}
}

// changer is a client that makes changes until its round ends.
type changer interface {
	append(text string) error
	delete(text string) error
	close()
}

// pairs are the pairs of some rounds.
type pairs struct {
	spent   time.Duration
	appends []time.Duration
	done    int
	failed  error
}

// round has clients make pairs for a second.
func (p *pairs) round(clients int, newClient func(ctx context.Context, client int) changer) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changers := make([]changer, clients)
	for i := range changers {
		changers[i] = newClient(ctx, i)
		defer changers[i].close()
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	time.AfterFunc(time.Second, cancel)
	for _, c := range changers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := strconv.Itoa(n)
				began := time.Now()
				err := c.append(text)
				took := time.Since(began)
				if err == nil {
					err = c.delete(text)
				}
				mu.Lock()
				if err == nil {
					p.appends = append(p.appends, took)
					p.done++
				} else if ctx.Err() == nil {
					p.failed = err
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	p.spent += time.Since(began)
}

// rate is in pairs per second.
func (p *pairs) rate() float64 { return float64(p.done) / p.spent.Seconds() }

// quantile is of the appends, in milliseconds.
func (p *pairs) quantile(q float64) float64 {
	if len(p.appends) == 0 {
		return 0
	}
	slices.Sort(p.appends)
	return p.appends[int(q*float64(len(p.appends)-1))].Seconds() * 1000
}

func challengeName(client int) string { return fmt.Sprintf("_acme-challenge.host%d", client) }

// zoneClient makes changes by the package, as a client of its own.
type zoneClient struct {
	zone   *rfc2136.Zone
	client string
	owner  record.Name
}

func newZoneClient(z *rfc2136.Zone, client int) changer {
	owner, err := record.ParseOwner(challengeName(client), z.Config.Zone)
	if err != nil {
		panic(err)
	}
	return &zoneClient{z, fmt.Sprint("client ", client), owner}
}

func (c *zoneClient) append(text string) error {
	r, err := record.At(c.owner, "TXT", 0, text)
	if err == nil {
		_, err = c.zone.Change(context.Background(), c.client, record.Change{Op: record.Append, Records: []record.Record{r}}, nil)
	}
	return err
}

func (c *zoneClient) delete(text string) error {
	m, err := record.MatchAt(c.owner, "TXT", nil, &text)
	if err != nil {
		return err
	}
	records, err := c.zone.Change(context.Background(), c.client, record.Change{Op: record.Delete, Matches: []record.Match{m}}, nil)
	if err == nil && len(records) != 1 {
		err = fmt.Errorf("%d records were deleted at %q, want one", len(records), c.owner)
	}
	return err
}

func (c *zoneClient) close() {}

// directClient sends updates on a connection of its own.
type directClient struct {
	zone   harness.Zone
	name   string
	client dns.Client
	conn   net.Conn
}

func newDirectClient(ctx context.Context, zone harness.Zone, client int) changer {
	c := &directClient{zone: zone, name: challengeName(client) + "." + dns.Fqdn(zone.Name)}
	c.client = dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{dns.Fqdn(zone.Key.Name): zone.Key.Secret}}
	conn, err := net.DialTimeout("tcp", zone.Primaries[0], 10*time.Second)
	if err != nil {
		panic(err)
	}
	c.conn = conn
	context.AfterFunc(ctx, func() {
		// A server that serves fewer connections than there are leaves the others without an answer.
		time.AfterFunc(time.Second, c.close)
	})
	return c
}

func (c *directClient) close() { c.conn.Close() }

func (c *directClient) append(text string) error {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(c.zone.Name))
	m.Insert([]dns.RR{c.record(text)})
	return c.send(m)
}

func (c *directClient) delete(text string) error {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(c.zone.Name))
	m.Remove([]dns.RR{c.record(text)})
	return c.send(m)
}

func (c *directClient) record(text string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: c.name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}}
}

func (c *directClient) send(m *dns.Msg) error {
	m.SetTsig(dns.Fqdn(c.zone.Key.Name), dns.HmacSHA256, 300, time.Now().Unix())
	// A dns.Conn would sign the next message as an answer to this one.
	answer, _, err := c.client.ExchangeWithConn(m, &dns.Conn{Conn: c.conn})
	if err == nil && answer.Rcode != dns.RcodeSuccess {
		err = fmt.Errorf("the server answers %s", dns.RcodeToString[answer.Rcode])
	}
	return err
}
