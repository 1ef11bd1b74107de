package harness

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// laggardPause is how long a laggard waits before it looks at its primary again.
const laggardPause = 10 * time.Millisecond

// laggard is a name server of a zone that lags behind the primary by a fixed time. A
// secondary of others would not do: whatever makes it late, the NOTIFY for one change brings
// all changes before it.
type laggard struct {
	zone Zone
	lag  time.Duration

	mu sync.Mutex
	// seen has what the primary had, the oldest first: one version that is older than the
	// lag, unless it has just started, and all later ones.
	seen []zoneVersion
}

type zoneVersion struct {
	at      time.Time
	serial  uint32
	records []dns.RR
}

// StartLaggard serves the zone at addr, until the test ends, as its first primary had it so
// long ago. What the zone has now is what it always had.
func StartLaggard(t testing.TB, z Zone, addr string, lag time.Duration) {
	t.Helper()
	l := &laggard{zone: z, lag: lag}
	if err := l.look(); err != nil {
		t.Fatal(err)
	}
	l.seen[0].at = time.Time{}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		tcp.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { l.follow(ctx) })
	t.Cleanup(func() { cancel(); following.Wait() })
	ServeDNS(t, &dns.Server{Listener: tcp, Handler: l}, &dns.Server{PacketConn: udp, Handler: l})
}

// follow looks at the primary until the context ends. A primary that does not answer has no
// newer version.
func (l *laggard) follow(ctx context.Context) {
	tick := time.NewTicker(laggardPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = l.look()
		case <-ctx.Done():
			return
		}
	}
}

// look keeps the primary's version of the zone if it is new.
func (l *laggard) look() error {
	primary, now := l.zone.Primaries[0], time.Now()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(l.zone.Name), dns.TypeSOA)
	answer, _, err := new(dns.Client).Exchange(m, primary)
	if err != nil {
		return fmt.Errorf("asking %s for the SOA of %s: %w", primary, l.zone.Name, err)
	}
	if serial, ok := serialOf(answer.Answer); ok && l.has(serial) {
		return nil
	}
	records, err := l.zone.transfer(primary)
	if err != nil {
		return err
	}
	serial, ok := serialOf(records)
	if !ok {
		return fmt.Errorf("transferring %s from %s: it does not begin with a SOA", l.zone.Name, primary)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, zoneVersion{now, serial, records})
	l.forget(now)
	return nil
}

func serialOf(records []dns.RR) (serial uint32, ok bool) {
	if len(records) == 0 {
		return 0, false
	}
	soa, ok := records[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// has reports whether the last version that was seen is this one.
func (l *laggard) has(serial uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen) > 0 && l.seen[len(l.seen)-1].serial == serial
}

// forget drops the versions that are served no more. l.mu is held.
func (l *laggard) forget(now time.Time) {
	for len(l.seen) > 1 && now.Sub(l.seen[1].at) >= l.lag {
		l.seen = l.seen[1:]
	}
}

// served returns the records of the version that is due.
func (l *laggard) served() []dns.RR {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(time.Now())
	return l.seen[0].records
}

// ServeDNS implements dns.Handler.
func (l *laggard) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	Authority{dns.CanonicalName(l.zone.Name): l.served()}.ServeDNS(w, query)
}
