package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// The ways in which a Caddy is told to end.
var exits = map[string]func(testing.TB, *harness.Caddy){
	"SIGTERM": func(t testing.TB, c *harness.Caddy) { c.Stop() },
	"caddy stop": func(t testing.TB, c *harness.Caddy) {
		t.Helper()
		resp, err := http.Post("http://"+c.Admin+"/stop", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		<-c.Ended
	},
}

// exiting matches what certmagic logs when it is ended in the middle of an order. Caddy takes
// its locks away at the same time as certmagic itself does.
func exiting(e harness.Entry) bool {
	return cancelled(e) || e.Message == "unable to unlock" || e.Message == "unable to clean up lock in storage backend" ||
		strings.Contains(e.Line, "the process ends, and would leave the record behind")
}

// Caddy ends in the middle of a challenge. Its records are gone when it is, by the API and
// in process.
func TestExitDuringChallenge(t *testing.T) {
	t.Parallel()
	for name, exit := range exits {
		t.Run(name+" by API", func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
			gate := w.Pebble.HoldChallenges()
			client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(web, wildcard))
			client.Accept(exiting)
			w.AtChallenge(t, gate)
			exit(t, client)
			w.AssertNoChallenge(t, harness.HostedZone, web)
			gate.Open()
		})
		for how, caddyfile := range map[string]string{"in process": "inprocess.caddyfile", "by its own API": "ownapi.caddyfile"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				w := harness.NewWorld(t)
				gate := w.Pebble.HoldChallenges()
				caddy := harness.StartCaddy(t, harness.CaddyBinary, caddyfile, w.Env(t), sites(web, wildcard))
				caddy.Accept(exiting)
				w.AtChallenge(t, gate)
				if w.ChallengesLeft(t, harness.HostedZone, web) == nil {
					t.Error("the client is at its challenge, but its record is not in the zone")
				}
				exit(t, caddy)
				assertNoTexts(t, w.Store)
				gate.Open()
			})
		}
	}
}

// assertNoTexts fails the test if a store that no process has open has TXT records.
func assertNoTexts(t testing.TB, store string) {
	t.Helper()
	s, err := nameserver.Open(nameserver.Options{Path: store})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	apex, err := record.ParseName(harness.HostedZone)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, ok := s.Snapshot(apex)
	if !ok {
		t.Fatalf("the store has no zone %s", harness.HostedZone)
	}
	for r := range snapshot.Records(apex) {
		if r.Type == record.TypeTXT {
			t.Errorf("the store still has %s", r)
		}
	}
}

// Caddy is killed in the middle of a challenge that it answers itself. What it left is gone
// when the name server answers again.
func TestKillDuringChallenge(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	gate := w.Pebble.HoldChallenges()
	caddy := harness.StartCaddy(t, harness.CaddyBinary, "inprocess.caddyfile", w.Env(t), sites(web))
	w.AtChallenge(t, gate)
	if w.ChallengesLeft(t, harness.HostedZone, web) == nil {
		t.Error("the client is at its challenge, but its record is not in the zone")
	}
	caddy.Kill()
	gate.Open()
	harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	w.AssertNoChallenge(t, harness.HostedZone, web)
}

// Caddy ends in the middle of a challenge, and the service does not answer. It takes the
// time that it may, says what it could not do, and ends.
func TestExitWithoutService(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t)
	service := harness.StartCaddy(t, harness.CaddyBinary, "service.caddyfile", w.Env(t))
	gate := w.Pebble.HoldChallenges()
	defer gate.Open()
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(web))
	client.Accept(exiting)
	left := func(e harness.Entry) bool { return strings.Contains(e.Line, "could not be deleted in 3s") }
	client.Accept(left)
	w.AtChallenge(t, gate)
	service.Stop()
	began := time.Now()
	client.Stop()
	const most = 3*time.Second + 5*time.Second // for what else there is to stop, on a busy machine
	if took := time.Since(began); took > most {
		t.Errorf("it took %s to end", took)
	}
	if client.Log.Entries(left) == nil {
		t.Error("the log does not say that a record is left")
	}
}
