package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// BenchmarkCertificate compares one wildcard certificate through BestDNS, with
// propagation_timeout -1, to one certificate by HTTP-01, which knows no
// propagation at all. Both come from the same CA and the same client in turns,
// with accounts that are there already, so what differs is the challenge alone.
//
// With ten turns or more it fails where BestDNS takes more than 1.1 times as long.
func BenchmarkCertificate(b *testing.B) {
	const (
		worstRatio = 1.1
		enough     = 10
	)
	withoutRateLimit(b)
	w := harness.NewWorld(b)
	harness.StartCaddy(b, harness.CaddyBinary, "service.caddyfile", w.Env(b))
	dns01, http01 := w.NewCertmagic(b), newHTTP01(b, w)
	obtain := func(config *certmagic.Config, name string) time.Duration {
		start := time.Now()
		if err := config.ObtainCertSync(b.Context(), name); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	turn := func(i int) (byDNS, byHTTP time.Duration) {
		host := fmt.Sprintf("n%d.%s", i, harness.ElsewhereZone)
		w.Resolver.Host(b, harness.ElsewhereZone, host+". 60 IN A 127.0.0.1")
		byDNS = obtain(dns01, fmt.Sprintf("*.n%d.many.%s", i, harness.HostedZone))
		byHTTP = obtain(http01, host)
		return byDNS, byHTTP
	}
	turn(-1) // the accounts

	var byDNS, byHTTP time.Duration
	for i := 0; b.Loop(); i++ {
		d, h := turn(i)
		byDNS += d
		byHTTP += h
	}
	ratio := byDNS.Seconds() / byHTTP.Seconds()
	b.ReportMetric(0, "ns/op") // the sum of both says nothing
	b.ReportMetric(byDNS.Seconds()/float64(b.N), "s/bestdns")
	b.ReportMetric(byHTTP.Seconds()/float64(b.N), "s/http-01")
	b.ReportMetric(ratio, "bestdns/http-01")
	if b.N >= enough && ratio > worstRatio {
		b.Errorf("BestDNS takes %.2f times as long as HTTP-01, more than %.1f", ratio, worstRatio)
	}
}

// withoutRateLimit lifts certmagic's own limit of ten certificates in ten seconds.
func withoutRateLimit(b *testing.B) {
	events, window := certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow
	certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow = 0, 0
	b.Cleanup(func() { certmagic.RateLimitEvents, certmagic.RateLimitEventsWindow = events, window })
}

// newHTTP01 returns certmagic that proves hosts by HTTP-01 alone.
func newHTTP01(b *testing.B, w *harness.World) *certmagic.Config {
	issuer := w.Issuer()
	issuer.DisableTLSALPNChallenge = true
	issuer.ListenHost = "127.0.0.1"
	issuer.AltHTTPPort = w.Pebble.HTTPPort
	return harness.NewCertmagic(b, issuer)
}
