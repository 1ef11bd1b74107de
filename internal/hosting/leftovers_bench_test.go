package hosting

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// BenchmarkRemembered appends a challenge in a zone with a DNS provider that takes no time and
// deletes it again, which is one operation: without a storage, and remembered in one of files.
func BenchmarkRemembered(b *testing.B) {
	for _, storage := range []Storage{nil, &certmagic.FileStorage{Path: b.TempDir()}} {
		b.Run(fmt.Sprintf("%T", storage), func(b *testing.B) {
			apex := mustParse("example.test")
			s, err := New(Config{
				Zones:   []*Zone{{Apex: apex, Provider: newMergingProvider(func() {}), ChallengeLifetime: time.Hour}},
				Storage: storage, Activity: NewActivity(), Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.DiscardHandler),
				Clients: []access.Config{{Name: "web", Users: []string{"web"}, Rules: []access.Rule{{Verb: access.Certificates, Under: true, Name: apex}}}},
			})
			if err != nil {
				b.Fatal(err)
			}
			s.Begin(nil)
			defer s.Close()
			who := Caller{Client: s.Clients().ByName("web")}
			r, err := record.At(mustParse("_acme-challenge.web1.example.test"), "TXT", 60, value(1))
			if err != nil {
				b.Fatal(err)
			}
			m, err := record.MatchAt(r.Name, "TXT", &r.TTL, new(value(1)))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for _, change := range []record.Change{{Op: record.Append, Records: []record.Record{r}}, {Op: record.Delete, Matches: []record.Match{m}}} {
					if _, err := s.Change(b.Context(), who, Change{Zone: apex, Change: change}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSweep looks for left-overs among many records that are not due.
func BenchmarkSweep(b *testing.B) {
	const n = 10_000
	storage := &certmagic.FileStorage{Path: b.TempDir()}
	apex := mustParse("example.test")
	s, err := New(Config{
		Zones:   []*Zone{{Apex: apex, Provider: newMergingProvider(func() {}), ChallengeLifetime: time.Hour}},
		Storage: storage, Activity: NewActivity(), Logger: zap.NewNop(), Audit: zap.NewNop(), ProcessLog: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		w := written{zone: apex, name: mustParse(fmt.Sprintf("_acme-challenge.h%d.example.test", i)), text: value(i), at: time.Now(), expires: time.Now().Add(time.Hour)}
		v, err := w.value()
		if err != nil {
			b.Fatal(err)
		}
		if err := storage.Store(b.Context(), w.key(), v); err != nil {
			b.Fatal(err)
		}
	}
	for len(s.leftovers.known) < n { // each record is read once
		s.leftovers.sweep(b.Context())
	}
	for b.Loop() {
		s.leftovers.sweep(b.Context())
	}
}
