package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A client is killed in the middle of its challenge, and so is the service. When that is back, it
// deletes the client's record in Knot after its lifetime, and leaves that of another ACME client at the
// same name.
func TestKilledClientsLeaveNothingInKnot(t *testing.T) {
	t.Parallel()
	const (
		domain   = "web." + knotZoneName
		name     = "_acme-challenge." + domain
		lifetime = 8 * time.Second // the client and the service are dead by then
		foreign  = "a-value-of-another-client-of-43-characters_"
	)
	z := harness.Zone{Name: knotZoneName, Key: harness.NewKey(), Primaries: []string{harness.FreeAddr(t)}}
	knot := z.Primaries[0]
	harness.StartKnotPrimary(t, z)
	w := harness.NewWorld(t)
	w.Resolver.Delegate(knotZoneName, knot)
	z.Update(t, knot, []string{name + `. 60 IN TXT "` + foreign + `"`}, nil)
	storage := harness.Env{"XDG_DATA_HOME": t.TempDir()}
	start := func() *harness.Caddy {
		return harness.StartCaddy(t, harness.CaddyBinary, "knot.caddyfile", w.Env(t), storage, harness.Env{
			"KNOT": knot, "KNOT_KEY_NAME": z.Key.Name, "KNOT_KEY": z.Key.Secret, "CHALLENGE_LIFETIME": lifetime.String(),
		})
	}
	service := start()

	gate := w.Pebble.HoldChallenges()
	client := harness.StartCaddy(t, harness.ClientBinary, "client.caddyfile", w.Env(t), sites(domain))
	w.AtChallenge(t, gate)
	client.Kill()
	service.Kill()
	gate.Open()
	there, _, err := harness.TextsAt(knot, name)
	if err != nil || len(there) != 2 || !slices.Contains(there, foreign) {
		t.Fatalf("in Knot is %q, %v, want the record of the client and the one of another", there, err)
	}

	again := start()
	gone := harness.Message("records of challenges have expired and are gone")
	if err := again.Log.Wait(1, harness.StartTimeout, gone); err != nil {
		t.Fatal(err)
	}
	if left, _, err := harness.TextsAt(knot, name); err != nil || !slices.Equal(left, []string{foreign}) {
		t.Errorf("in Knot is %q, %v, want the record of another alone", left, err)
	}
}
