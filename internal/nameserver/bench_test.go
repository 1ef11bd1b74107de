package nameserver

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
)

// challengeAt returns what a challenge record of one of many hosts looks like.
func challengeAt(zone record.Name, i int) record.Record {
	host, err := zone.Child(fmt.Sprintf("web%07d", i))
	if err != nil {
		panic(err)
	}
	owner, err := host.Child("_acme-challenge")
	if err != nil {
		panic(err)
	}
	return record.Record{Name: owner, Type: record.TypeTXT, TTL: 60, Data: fmt.Sprintf("%c%043d", 43, i)}
}

// filled returns a server with that many names in a zone, a TXT record at each.
func filled(b *testing.B, path string, names int) (*Server, ZoneConfig) {
	b.Helper()
	s := open(b, path)
	zone := zoneConfig(b, "acme.example.com")
	push(b, s, zone)
	const most = 10_000
	for from := 0; from < names; from += most {
		change := record.Change{Op: record.Append}
		for i := from; i < min(from+most, names); i++ {
			change.Records = append(change.Records, challengeAt(zone.Name, i))
		}
		apply(b, s, zone.Name, change)
	}
	return s, zone
}

var sizes = []int{100, 10_000, 1_000_000}

func BenchmarkLookup(b *testing.B) {
	for _, names := range sizes {
		s, zone := filled(b, storePath(b), names)
		v := s.view.Load()
		hits, misses := make([]record.Name, 1<<14), make([]record.Name, 1<<14)
		for i := range hits {
			hits[i] = challengeAt(zone.Name, i*7919%names).Name
			misses[i], _ = hits[i].Parent().Child("missing")
		}
		for _, kind := range []struct {
			name  string
			names []record.Name
		}{{"hit", hits}, {"NXDOMAIN", misses}} {
			b.Run(fmt.Sprintf("%s/%d names", kind.name, names), func(b *testing.B) {
				b.ReportAllocs()
				l := new(lookup)
				i := 0
				for b.Loop() {
					l.find(v, kind.names[i%len(kind.names)], record.TypeTXT)
					i++
				}
			})
		}
		s.Close()
	}
}

// BenchmarkAnswer is the whole way of a message but for its way through the system:
// of a plain one, and of the same with an option that has it take the longer way.
func BenchmarkAnswer(b *testing.B) {
	for _, names := range sizes {
		s, zone := filled(b, storePath(b), names)
		v := s.view.Load()
		for _, kind := range []struct {
			name  string
			owner func(i int) string
			opt   func(*dns.Msg)
		}{
			{"hit", func(i int) string { return challengeAt(zone.Name, i*7919%names).Name.String() }, edns(1232)},
			{"NXDOMAIN", func(i int) string { return fmt.Sprintf("_acme-challenge.gone%07d.%s", i*7919%names, zone.Name) }, edns(1232)},
			{"hit by the handler", func(i int) string { return challengeAt(zone.Name, i*7919%names).Name.String() }, edns(1232, func(o *dns.OPT) {
				o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001})
			})},
		} {
			queries := make([][]byte, 1<<14)
			for i := range queries {
				packed, err := question(kind.owner(i), dns.TypeTXT, kind.opt).Pack()
				if err != nil {
					b.Fatal(err)
				}
				queries[i] = packed
			}
			b.Run(fmt.Sprintf("%s/%d names", kind.name, names), func(b *testing.B) {
				r := &responder{server: s}
				buf := make([]byte, 0, writerBuffer)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if r.answer(v, queries[i%len(queries)], buf) == nil {
						b.Fatal("no answer")
					}
					i++
				}
			})
		}
		s.Close()
	}
}

// BenchmarkApply adds a record at a name of its own and removes it again, each
// change durable before the next of its client.
func BenchmarkApply(b *testing.B) {
	for _, names := range []int{100, 1_000_000} {
		s, zone := filled(b, storePath(b), names)
		for _, clients := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("%d clients/%d names", clients, names), func(b *testing.B) {
				applyPairs(b, s, zone.Name, names, clients, b.N)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
			})
		}
		s.Close()
	}
}

// applyPairs has clients add a record, each at a name of its own, and remove it again.
func applyPairs(b *testing.B, s *Server, zone record.Name, names, clients, pairs int) {
	var left atomic.Int64
	left.Store(int64(pairs))
	var wg sync.WaitGroup
	for client := range clients {
		text := challengeAt(zone, names+client)
		add := appending(text)
		remove := record.Change{Op: record.Delete, Matches: []record.Match{{Name: text.Name, Type: text.Type}}}
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				for _, change := range []record.Change{add, remove} {
					if _, err := s.Apply(context.Background(), zone, change); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkApplyBySize compares how long changes take at zones of three sizes. Short
// turns follow each other, so that what else the machine does weighs on all of them
// alike, and the medians are of the ratios within a round.
//
// With enough rounds it fails where a change takes more than 1.2 times as long.
func BenchmarkApplyBySize(b *testing.B) {
	const (
		worstRatio = 1.2
		enough     = 50
	)
	type zone struct {
		server *Server
		name   record.Name
		names  int
		ratios []float64 // to the first
	}
	var zones []*zone
	for _, names := range []int{100, 100_000, 1_000_000} {
		s, config := filled(b, storePath(b), names)
		defer s.Close()
		zones = append(zones, &zone{server: s, name: config.Name, names: names})
	}
	for _, clients := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			for _, z := range zones {
				z.ratios = nil
			}
			for b.Loop() {
				var first time.Duration
				for i, z := range zones {
					started := time.Now()
					applyPairs(b, z.server, z.name, z.names, clients, 100+10*clients)
					took := time.Since(started)
					if i == 0 {
						first = took
					}
					z.ratios = append(z.ratios, took.Seconds()/first.Seconds())
				}
			}
			for _, z := range zones[1:] {
				slices.Sort(z.ratios)
				ratio := z.ratios[len(z.ratios)/2]
				b.ReportMetric(ratio, fmt.Sprintf("at-%d-names/at-%d", z.names, zones[0].names))
				if len(z.ratios) >= enough && ratio > worstRatio {
					b.Errorf("at %d names a change takes %.2f times as long as at %d, more than %.1f", z.names, ratio, zones[0].names, worstRatio)
				}
			}
		})
	}
}

// BenchmarkLoad opens a store and reads it. B/record is what a record costs beyond
// the octets of its name and text.
func BenchmarkLoad(b *testing.B) {
	for _, names := range []int{100_000, 1_000_000} {
		path := filepath.Join(b.TempDir(), "records.db")
		s, zone := filled(b, path, names)
		s.Close()
		s = nil
		b.Run(fmt.Sprintf("%d records", names), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&before)
				b.StartTimer()
				s := open(b, path)
				if err := s.Load(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				if n := snapshot(b, s, zone.Name).tree.Len(); n < names {
					b.Fatalf("%d names", n)
				}
				s.Close()
				b.StartTimer()
			}
			r := challengeAt(zone.Name, 0)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(names)-float64(len(r.Name)+len(r.Data)), "B/record")
		})
	}
}
