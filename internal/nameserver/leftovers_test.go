package nameserver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/google/go-cmp/cmp"
)

// TestLeftBehind: what the client that ends with its process has written and expires does
// not outlive the process, whatever ends it. Everything else does.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	const local = "(in process)"
	path := storePath(t)
	zone := zoneConfig(t, "example.org")
	inProcess := func(transient string) *Server {
		t.Helper()
		s, err := Open(Options{Path: path, Logger: testLogger(t), Transient: transient})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Load(); err != nil {
			t.Fatal(err)
		}
		serve(t, s, zone)
		return s
	}
	write := func(s *Server, client string, records ...record.Record) {
		t.Helper()
		if _, err := s.ApplyFor(context.Background(), zone.Name, appending(records...), Account{Client: client}); err != nil {
			t.Fatal(err)
		}
	}
	names := func(s *Server) (left []string) {
		for r := range snapshot(t, s, zone.Name).Records(zone.Name) {
			if r.Type == record.TypeTXT {
				_, data := r.Text()
				left = append(left, r.Name.Relative(zone.Name)+" "+data)
			}
		}
		slices.Sort(left)
		return left
	}
	line := func(text string) record.Record { return rr(t, zone.Name, text) }
	stay := []string{"a durable", "a local, durable", "a other's", "b no one's"}

	s := inProcess(local)
	write(s, local, expiring(line("a 0 TXT local"), time.Hour), line("a 0 TXT local, durable"), expiring(line("c 0 TXT local, later"), 2*time.Hour))
	write(s, "other", expiring(line("a 0 TXT other's"), time.Hour), line("a 0 TXT durable"))
	write(s, "", expiring(line("b 0 TXT no one's"), time.Hour))
	var many []record.Record
	for i := range expireAtOnce + 1 {
		many = append(many, expiring(line(fmt.Sprintf("n%d 0 TXT local", i)), time.Hour))
	}
	write(s, local, many...)
	if got := names(s); len(got) != len(stay)+2+expireAtOnce+1 {
		t.Fatalf("%d records before the end", len(got))
	}
	s.Close()

	s = inProcess(local)
	serial := snapshot(t, s, zone.Name).Serial()
	if diff := cmp.Diff(stay, names(s)); diff != "" {
		t.Errorf("in the next process (-want +got):\n%s", diff)
	}
	s.Close()

	s = inProcess(local)
	if diff := cmp.Diff(stay, names(s)); diff != "" {
		t.Errorf("in the one after (-want +got):\n%s", diff)
	}
	if now := snapshot(t, s, zone.Name).Serial(); now != serial {
		t.Errorf("the serial was %d and is %d, though nothing was left behind", serial, now)
	}
	s.Close()

	s = inProcess("")
	write(s, local, expiring(line("a 0 TXT local"), time.Hour))
	s.Close()
	s = inProcess("another")
	if got := len(names(s)); got != len(stay)+1 {
		t.Errorf("%d records with another client that ends with its process, want %d", got, len(stay)+1)
	}
	s.Close()
}
