package nameserver

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
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
	serve(b, s, zone)
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

var sizes = []int{100, 10_000, 100_000, 1_000_000}

// someOf returns numbers from 0 to names, each about as often, in no order: so many
// that with what they stand for they fill no cache.
func someOf(names int) []int {
	numbers := make([]int, 1<<17)
	for i := range numbers {
		numbers[i] = i * 7919 % names
	}
	return numbers
}

// BenchmarkLookup is how long it takes to find what to answer. The names that do not
// exist are spread over the zone, one below each that has a challenge.
func BenchmarkLookup(b *testing.B) {
	for _, names := range sizes {
		s, zone := filled(b, storePath(b), names)
		v := s.view.Load()
		var hits, misses []record.Name
		for _, i := range someOf(names) {
			hit := challengeAt(zone.Name, i).Name
			miss, _ := hit.Parent().Child("missing")
			hits, misses = append(hits, hit), append(misses, miss)
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

// BenchmarkAnswer is the whole way of a message but for its way through the system.
func BenchmarkAnswer(b *testing.B) {
	for _, names := range sizes {
		s, zone := filled(b, storePath(b), names)
		for _, kind := range []struct {
			name  string
			label string
		}{
			{"hit", "_acme-challenge"},
			{"NXDOMAIN", "missing"},
		} {
			queries := challengeQueries(b, zone.Name, names, kind.label, edns(1232))
			for _, transport := range transports {
				b.Run(fmt.Sprintf("%s/%s/%d names", kind.name, transport.name, names), func(b *testing.B) {
					r, buf := &responder{server: s}, make([]byte, 0, writerBuffer)
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						if transport.answer(r, queries[i%len(queries)], buf) == nil {
							b.Fatal("no answer")
						}
						i++
					}
				})
			}
		}
		s.Close()
	}
}

// challengeQueries returns queries for TXT records at a label below some of a zone's
// hosts.
func challengeQueries(b *testing.B, zone record.Name, names int, label string, change ...func(*dns.Msg)) [][]byte {
	b.Helper()
	var queries [][]byte
	for _, i := range someOf(names) {
		host := challengeAt(zone, i).Name.Parent()
		queries = append(queries, packed(b, question(label+"."+host.String(), dns.TypeTXT, change...)))
	}
	return queries
}

// BenchmarkServeUDP is the whole way of a query, from one socket to another and back,
// with the client's part of it. Queries come as many at a time as are read at once.
func BenchmarkServeUDP(b *testing.B) {
	const window = 32
	for _, names := range sizes {
		s, zone := filled(b, storePath(b), names)
		if err := s.Serve(Settings{Zones: []ZoneConfig{zone}, RateLimit: DefaultRateLimit}); err != nil {
			b.Fatal(err)
		}
		queries := challengeQueries(b, zone.Name, names, "_acme-challenge", edns(1232))
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		socket := NewUDPSocket(udp, "udp", nil)
		socket.Serve(s)
		conn, err := net.DialUDP("udp4", nil, udp.LocalAddr().(*net.UDPAddr))
		if err != nil {
			b.Fatal(err)
		}
		client := ipv4.NewPacketConn(conn)
		out, in := make([]ipv4.Message, window), make([]ipv4.Message, window)
		for i := range window {
			out[i].Buffers, in[i].Buffers = make([][]byte, 1), [][]byte{make([]byte, maxUDPSize)}
		}
		b.Run(fmt.Sprintf("hit/%d names", names), func(b *testing.B) {
			next := 0
			for left := b.N; left > 0; {
				n := min(left, window)
				for i := range n {
					out[i].Buffers[0] = queries[next%len(queries)]
					next++
				}
				for sent := 0; sent < n; {
					m, err := client.WriteBatch(out[sent:n], 0)
					if err != nil {
						b.Fatal(err)
					}
					sent += m
				}
				left -= n
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				for n > 0 {
					m, err := client.ReadBatch(in[:n], 0)
					if err != nil {
						b.Fatal(err)
					}
					n -= m
				}
			}
		})
		conn.Close()
		socket.Close()
		s.Close()
		if err := socket.Err(); err != nil {
			b.Error(err)
		}
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
// This is the name server alone, a few microseconds of a change. What a client of the
// service sees, and what is held to a limit, is BenchmarkChangesBySize.
func BenchmarkApplyBySize(b *testing.B) {
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
				b.ReportMetric(z.ratios[len(z.ratios)/2], fmt.Sprintf("at-%d-names/at-%d", z.names, zones[0].names))
			}
		})
	}
}

// BenchmarkLoad opens a store and reads it. B/record is what a record costs beyond
// the bytes of its name and text.
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
