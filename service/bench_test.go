package service

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkChanges adds a TXT record at a name of its own and removes it again,
// through Caddy's whole handler chain and durably, with the load on the same cores.
// One operation is such a pair. Each client has a connection of its own, as separate
// hosts would, and waits for each answer.
func BenchmarkChanges(b *testing.B) {
	for _, transport := range []string{"HTTP1", "TLS+HTTP2"} {
		s := newService(b)
		if transport != "HTTP1" {
			s.api = "https://localhost:" + s.api[strings.LastIndexByte(s.api, ':')+1:]
		}
		s.load(b, s.standard())
		for _, clients := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%s/%d", transport, clients), func(b *testing.B) {
				s.benchmarkPairs(b, clients)
			})
		}
	}
}

func (s *service) benchmarkPairs(b *testing.B, clients int) {
	loaders := s.connectAll(b, "example.test", clients)
	b.ReportAllocs()
	b.ResetTimer()
	times := changePairs(b, loaders, b.N)
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// changePairs has the clients add a record each and remove it again, until there are n
// such pairs, and returns how long each change took.
func changePairs(b *testing.B, loaders []loader, n int) []time.Duration {
	b.Helper()
	var next atomic.Int64
	var mu sync.Mutex
	times := make([]time.Duration, 0, 2*n)
	var group sync.WaitGroup
	for _, l := range loaders {
		group.Go(func() {
			var body []byte
			var own []time.Duration
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				for _, op := range []string{"append", "delete"} {
					body = append(append(append(body[:0], `{"`...), op...), `":[{"name":"_acme-challenge.host`...)
					body = append(strconv.AppendInt(body, i, 10), `","type":"TXT","data":"`+challengeValue+`"}]}`...)
					started := time.Now()
					if err := l.patch(body); err != nil {
						b.Error(err)
						return
					}
					own = append(own, time.Since(started))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	group.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return times
}
