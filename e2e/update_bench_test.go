package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// BenchmarkUpdate compares our name server with Knot: dynamic updates of clients that have a TCP
// connection each, which they keep. A pair appends a TXT record at a name of the client and deletes
// it. Both run in turns of a second.
//
//	go test -run '^$' -bench Update$ -benchtime 10x .
func BenchmarkUpdate(b *testing.B) {
	knot, ours := newUpdatedZone(b), newUpdatedZone(b)
	harness.StartKnotPrimary(b, knot)
	harness.StartBestDNSPrimary(b, ours)
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			var byKnot, byUs pairs
			for b.Loop() {
				byKnot.round(clients, func(ctx context.Context, client int) changer { return newDirectClient(ctx, knot, client) })
				byUs.round(clients, func(ctx context.Context, client int) changer { return newDirectClient(ctx, ours, client) })
			}
			b.ReportMetric(0, "ns/op") // the sum of both says nothing
			b.ReportMetric(byKnot.rate(), "knot-pairs/s")
			b.ReportMetric(byUs.rate(), "pairs/s")
			b.ReportMetric(byUs.rate()/byKnot.rate(), "of-knot")
			b.ReportMetric(byKnot.quantile(0.99), "knot-p99-ms")
			b.ReportMetric(byUs.quantile(0.99), "p99-ms")
			if byUs.failed != nil {
				b.Error(byUs.failed)
			}
			if byKnot.done == 0 {
				b.Error(byKnot.failed)
			}
		})
	}
}
