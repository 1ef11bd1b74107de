package e2e

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// The built-in name server as the primary of others' secondaries: Knot, NSD, BIND and
// PowerDNS. The server is in this process, so that its counts can be read.

const transferredZone = "transferred.example."

// primary is a server with one zone that has secondaries.
type primary struct {
	*nameserver.Server
	addr string
	zone nameserver.ZoneConfig
	log  *harness.LockedBuffer
	last int // text
}

func newPrimary(t *testing.T) *primary {
	t.Helper()
	name, err := record.ParseName(transferredZone)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := name.Child("ns1")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{log: new(harness.LockedBuffer), zone: nameserver.ZoneConfig{
		Name: name, TTL: 60,
		NameServers: []nameserver.NameServer{{Name: ns, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}},
	}}
	p.Server, err = nameserver.Open(nameserver.Options{Path: t.TempDir() + "/records.db", Logger: slog.New(slog.NewTextHandler(p.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if t.Failed() {
			t.Logf("the primary's log:\n%s", p.log.String())
		}
	})
	p.serve(t)
	tcp, udp := harness.ListenBoth(t)
	serveSockets(t, p.Server, udp.(*net.UDPConn), tcp)
	p.addr = tcp.Addr().String()
	return p
}

// serve serves the zone with secondaries.
func (p *primary) serve(t *testing.T, transfers ...nameserver.Transfer) {
	t.Helper()
	p.zone.Transfers = transfers
	if err := p.Serve(nameserver.Settings{Zones: []nameserver.ZoneConfig{p.zone}}); err != nil {
		t.Fatal(err)
	}
}

// change replaces the text at a name by one that it returns, with the serial.
func (p *primary) change(t *testing.T, name string) (text string, serial uint32) {
	t.Helper()
	p.last++
	text = fmt.Sprintf("text %d", p.last)
	r, err := record.New(p.zone.Name, name, "TXT", 60, text)
	if err != nil {
		t.Fatal(err)
	}
	result, err := p.Apply(t.Context(), p.zone.Name, record.Change{Op: record.Set, Records: []record.Record{r}})
	if err != nil {
		t.Fatal(err)
	}
	return text, result.Serial
}

// remove deletes the text at a name, and returns the serial.
func (p *primary) remove(t *testing.T, name string) (serial uint32) {
	t.Helper()
	owner, err := p.zone.Name.Child(name)
	if err != nil {
		t.Fatal(err)
	}
	result, err := p.Apply(t.Context(), p.zone.Name, record.Change{Op: record.Delete, Matches: []record.Match{{Name: owner, Type: record.TypeTXT}}})
	if err != nil {
		t.Fatal(err)
	}
	return result.Serial
}

func (p *primary) serial(t *testing.T) uint32 {
	t.Helper()
	z, ok := p.Snapshot(p.zone.Name)
	if !ok {
		t.Fatal("the primary does not have its zone")
	}
	return z.Serial()
}

func (p *primary) counts() nameserver.TransferCount { return p.TransferCounts()[0] }

// waitStatus waits until the status of the secondary is good, which is what says, and returns for how
// long.
func (p *primary) waitStatus(t *testing.T, what string, good func(nameserver.SecondaryStatus) bool) time.Duration {
	t.Helper()
	began := time.Now()
	harness.Eventually(t, harness.StartTimeout, "the secondary is "+what, func() bool { return good(p.Secondaries(p.zone.Name)[0]) })
	return time.Since(began)
}

func transferKey(t *testing.T, secret string) (tsig.Key, harness.Key) {
	t.Helper()
	octets := base64.StdEncoding.EncodeToString([]byte("32 octets of a secret, " + secret))
	key, err := tsig.NewKey("transfer.key", dns.HmacSHA256, octets)
	if err != nil {
		t.Fatal(err)
	}
	return key, harness.Key{Name: "transfer.key", Secret: octets}
}

// late is how long a change may take to be at a secondary on a machine that does other things
// too. On a quiet one it is a hundredth of it for Knot and NSD. A secondary that waits for
// its timers, or a NOTIFY that comes late, takes a second or more.
const late = 700 * time.Millisecond

// TestSecondaries has each kind of secondary follow the server, with a key and without: from
// the first transfer, through changes, while it does nothing or is not there, and with a key
// that was changed.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.FollowerKinds {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed %v", kind, signed), func(t *testing.T) { followPrimary(t, kind, signed) })
		}
	}
}

func followPrimary(t *testing.T, kind string, signed bool) {
	var key tsig.Key
	var theirs harness.Key
	if signed {
		key, theirs = transferKey(t, "the first")
	}
	p := newPrimary(t)
	addr := harness.FreeAddr(t)
	s := harness.NewFollower(t, kind, harness.Secondary{Zone: transferredZone, Addr: addr, Primary: p.addr, Key: theirs})
	to := nameserver.Transfer{Address: netip.MustParseAddrPort(addr), Key: key}
	p.serve(t, to)
	p.change(t, "first")
	s.Launch()
	t.Logf("first served after %v", s.WaitSerial(p.serial(t)).Round(time.Millisecond))
	p.waitStatus(t, "told of it", func(s nameserver.SecondaryStatus) bool { return s.Known && s.Waiting.IsZero() })

	before := p.counts()
	times := make([]time.Duration, 60)
	for i := range times {
		text, _ := p.change(t, fmt.Sprintf("n%d", i%7))
		times[i] = s.WaitText(fmt.Sprintf("n%d", i%7), text)
	}
	slices.Sort(times)
	median := times[len(times)/2]
	t.Logf("a change is served after %v at the median, %v at most", median.Round(time.Microsecond), times[len(times)-1].Round(time.Microsecond))
	if median > late && (kind == "Knot" || kind == "NSD") {
		t.Errorf("a change is served after %v", median)
	}
	seeRemoval(t, p, s, "n0")
	after := p.counts()
	if after.Unanswered > before.Unanswered {
		t.Logf("%d of %d NOTIFYs had no answer", after.Unanswered-before.Unanswered, after.Notified-before.Notified)
	}
	if after.IXFR-before.IXFR < 20 || after.AXFR != before.AXFR {
		t.Errorf("counts before and after the changes: %+v, %+v", before, after)
	}

	s.Pause()
	text, _ := p.change(t, "paused")
	p.waitStatus(t, "away", func(s nameserver.SecondaryStatus) bool { return !s.Silent.IsZero() })
	for range 5 {
		text, _ = p.change(t, "paused")
	}
	s.Resume()
	t.Logf("served %v after a pause", s.WaitText("paused", text).Round(time.Millisecond))

	s.Stop()
	text, _ = p.change(t, "stopped")
	p.waitStatus(t, "gone", func(s nameserver.SecondaryStatus) bool { return !s.Silent.IsZero() })
	s.Launch()
	harness.Eventually(t, harness.StartTimeout, "the secondary answers", s.Answers)
	// Knot fetches and serves what it was told of when it likes: it was seen to take four seconds.
	told := p.waitStatus(t, "told of the change", func(s nameserver.SecondaryStatus) bool { return s.Waiting.IsZero() })
	took := s.WaitText("stopped", text)
	t.Logf("told %v after it answers again, and serves the change %v later", told.Round(time.Millisecond), took.Round(time.Millisecond))
	if told > time.Second+late {
		t.Errorf("it was away, and was told of a change only %v after it answered again", told)
	}
	if signed {
		changeKey(t, p, s, to)
	}
	compareZones(t, p, addr, s)
}

// seeRemoval deletes a text that the secondary serves: it learns of that by a difference, and
// serves it no more.
func seeRemoval(t *testing.T, p *primary, s *harness.Follower, name string) {
	t.Helper()
	question := new(dns.Msg).SetQuestion(name+"."+transferredZone, dns.TypeTXT)
	texts := func() (n int, ok bool) {
		answer, _, err := (&dns.Client{Timeout: time.Second}).Exchange(question, s.Addr)
		if err != nil {
			return 0, false
		}
		return len(answer.Answer), answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError
	}
	if n, ok := texts(); !ok || n != 1 {
		t.Errorf("before it is deleted, %d texts are served (answered: %v)", n, ok)
	}
	before := p.counts()
	s.WaitSerial(p.remove(t, name))
	harness.Eventually(t, harness.StartTimeout, "what was deleted is served no more", func() bool {
		n, ok := texts()
		return ok && n == 0
	})
	if after := p.counts(); after.IXFR == before.IXFR || after.AXFR != before.AXFR {
		t.Errorf("counts before and after a text was deleted: %+v, %+v", before, after)
	}
}

// changeKey gives the primary another secret: the secondary gets nothing until it has the same
// again, and the primary's log says why.
func changeKey(t *testing.T, p *primary, s *harness.Follower, to nameserver.Transfer) {
	t.Helper()
	other := to
	other.Key, _ = transferKey(t, "another")
	logged := len(p.log.String())
	p.serve(t, other)
	_, serial := p.change(t, "secret")
	p.waitStatus(t, "refused or silent", func(s nameserver.SecondaryStatus) bool {
		return !s.Waiting.IsZero() && (s.Refused != "" || !s.Silent.IsZero())
	})
	if got := s.Serial(); int32(got-serial) >= 0 {
		t.Errorf("with another secret it has serial %d", got)
	}
	harness.Eventually(t, harness.StartTimeout, "the primary logs that its NOTIFY is not accepted", func() bool {
		log := p.log.String()[logged:]
		return strings.Contains(log, "a secondary does not accept NOTIFY") || strings.Contains(log, "a secondary does not answer NOTIFY") ||
			strings.Contains(log, "the answer of a secondary to NOTIFY is ignored")
	})
	p.serve(t, to)
	s.WaitSerial(serial)
}

// compareZones compares what both have.
func compareZones(t *testing.T, p *primary, addr string, s *harness.Follower) {
	t.Helper()
	s.WaitSerial(p.serial(t))
	z, _ := p.Snapshot(p.zone.Name)
	var want, got []string
	for r := range z.Records(p.zone.Name) {
		if r.Type == record.TypeSOA {
			continue
		}
		typ, data := r.Text()
		want = append(want, fmt.Sprintf("%s %d %s %s", r.Name, r.TTL, typ, data))
		question := new(dns.Msg).SetQuestion(r.Name.String(), uint16(r.Type))
		answer, _, err := new(dns.Client).Exchange(question, addr)
		if err != nil || len(answer.Answer) != 1 {
			t.Fatalf("%s: %v, %v", r.Name, answer, err)
		}
		rr := answer.Answer[0]
		data = dns.Field(rr, 1)
		if txt, ok := rr.(*dns.TXT); ok {
			data = txt.Txt[0]
		}
		got = append(got, fmt.Sprintf("%s %d %s %s", rr.Header().Name, rr.Header().Ttl, dns.TypeToString[rr.Header().Rrtype], data))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the secondary's records (-primary +secondary):\n%s", diff)
	}
}

// TestLargeZoneAtSecondaries transfers 100,000 records to Knot and NSD, and then one change of
// them.
func TestLargeZoneAtSecondaries(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"Knot", "NSD"} {
		t.Run(kind, func(t *testing.T) {
			p := newPrimary(t)
			const names = 100_000
			for at := 0; at < names; at += 10_000 {
				change := record.Change{Op: record.Append}
				for i := range 10_000 {
					r, err := record.New(p.zone.Name, fmt.Sprintf("_acme-challenge.n%d", at+i), "TXT", 60, fmt.Sprintf("gfj9Xq-Rg85nM-%029d", at+i))
					if err != nil {
						t.Fatal(err)
					}
					change.Records = append(change.Records, r)
				}
				if _, err := p.Apply(t.Context(), p.zone.Name, change); err != nil {
					t.Fatal(err)
				}
			}
			key, theirs := transferKey(t, "of many records")
			addr := harness.FreeAddr(t)
			s := harness.NewFollower(t, kind, harness.Secondary{Zone: transferredZone, Addr: addr, Primary: p.addr, Key: theirs})
			p.serve(t, nameserver.Transfer{Address: netip.MustParseAddrPort(addr), Key: key})
			s.Launch()
			t.Logf("%d records are served %v after the start", names, s.WaitSerial(p.serial(t)).Round(time.Millisecond))
			s.WaitText("_acme-challenge.n99999", fmt.Sprintf("gfj9Xq-Rg85nM-%029d", 99_999))
			before := p.counts()
			times := make([]time.Duration, 20)
			for i := range times {
				text, _ := p.change(t, "small")
				times[i] = s.WaitText("small", text)
			}
			slices.Sort(times)
			t.Logf("a change is served after %v at the median", times[len(times)/2].Round(time.Microsecond))
			if after := p.counts(); after.AXFR != before.AXFR || after.IXFR == before.IXFR {
				t.Errorf("counts before and after the changes: %+v, %+v", before, after)
			}
		})
	}
}
