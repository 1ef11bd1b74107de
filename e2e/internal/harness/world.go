// Package harness is what end-to-end tests have in common: the programs under test, and
// the world around them, with a CA, resolvers, and other DNS servers. Its functions fail
// the test by themselves.
package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// World is the Internet of one test: a CA, the resolver that everyone asks,
// and a BestDNS service to be started, whose zones the resolver knows.
type World struct {
	Resolver *Resolver
	Pebble   *Pebble
	// DNS is the address for the service's name server, API that for its HTTP API.
	DNS, API string
	// Store is the file for the service's records.
	Store string
	// Recorder is in front of the API.
	Recorder *Recorder
	// Token is the client's: what it may do is in the service's Caddyfile.
	Token string

	// Reader is the token of a client that may read all of the zones.
	Reader string
}

// The zone that the services of the tests host, and a domain hosted elsewhere:
// by the resolver, with nothing in it but the CNAME that BestDNS asks for.
const (
	HostedZone    = "hosted.example"
	ElsewhereZone = "elsewhere.example"
	Elsewhere     = "www.elsewhere.example"
)

// NewWorld makes a world that ends with the test.
func NewWorld(t testing.TB) *World {
	t.Helper()
	w := &World{
		Resolver: NewResolver(t),
		DNS:      FreeAddr(t),
		API:      FreeAddr(t),
		Store:    filepath.Join(t.TempDir(), "records.db"),
		Token:    api.NewToken(),
		Reader:   api.NewToken(),
	}
	w.Recorder = NewRecorder(t, w.API)
	w.Pebble = NewPebble(t, w.Resolver.Addr)
	w.Resolver.Delegate(HostedZone, w.DNS)
	w.Resolver.Host(t, ElsewhereZone,
		"_acme-challenge."+Elsewhere+". 60 IN CNAME "+Elsewhere+"."+HostedZone+".")
	return w
}

// Env is what the Caddyfiles of testdata refer to.
func (w *World) Env(t testing.TB) Env {
	return Env{
		"RESOLVER":      w.Resolver.Addr,
		"ACME_CA":       w.Pebble.Directory,
		"ACME_CA_ROOT":  w.Pebble.TLSRoot,
		"DNS":           w.DNS,
		"STORE":         w.Store,
		"API_PORT":      Port(t, w.API),
		"TOKEN_DIGEST":  Digest(w.Token),
		"READER_DIGEST": Digest(w.Reader),
		"TOKEN":         w.Token,
		"ENDPOINT":      w.Recorder.URL,
		"ENDPOINT_ROOT": w.Recorder.TLSRoot,
	}
}

// Digest is how a config names a token.
func Digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Records returns what the API answers for the zone to a client that may read
// all of it. It bypasses the recorder and the client of the root package.
func (w *World) Records(t testing.TB, zone string) []api.Record {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+w.API+"/v1/zones/"+url.PathEscape(zone)+"/records", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Reader)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("reading the records of %s: %v", zone, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("reading the records of %s: %s", zone, resp.Status)
	}
	var answer api.Records
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("reading the records of %s: %v", zone, err)
	}
	return answer.Records
}

// ChallengesLeft returns the TXT records that are in the zone, by the API, and
// at the challenge names of the domains, by DNS.
func (w *World) ChallengesLeft(t testing.TB, zone string, domains ...string) []string {
	t.Helper()
	var left []string
	records := w.Records(t, zone)
	if !slices.ContainsFunc(records, func(r api.Record) bool { return r.Type == "SOA" }) {
		t.Fatalf("the API answers no SOA for the zone %s, so no one knows what else it leaves out: %v", zone, records)
	}
	for _, r := range records {
		if r.Type == "TXT" {
			left = append(left, "API: "+r.Name)
		}
	}
	for _, domain := range domains {
		for _, data := range w.Resolver.Query(t, "_acme-challenge."+domain, dns.TypeTXT) {
			if data[0] == '"' { // and not the CNAME before it
				left = append(left, "DNS: "+domain+" "+data)
			}
		}
	}
	return left
}

// AssertNoChallenge fails the test if a challenge record is left in the zone or
// in DNS.
func (w *World) AssertNoChallenge(t testing.TB, zone string, domains ...string) {
	t.Helper()
	if left := w.ChallengesLeft(t, zone, domains...); left != nil {
		t.Errorf("challenge records are left: %q", left)
	}
}

// WaitNoChallenge is for tests in which a client cleans up after a
// certificate: it gives it the time to.
func (w *World) WaitNoChallenge(t testing.TB, zone string, domains ...string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := w.ChallengesLeft(t, zone, domains...)
		if left == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("challenge records are left: %q", left)
			return
		}
	}
}

// AtChallenge waits until a client has its record in place.
func (w *World) AtChallenge(t testing.TB, gate *Gate) {
	t.Helper()
	select {
	case <-gate.Reached:
	case <-time.After(ObtainTimeout):
		t.Fatal("no client has come to a challenge")
	}
}
