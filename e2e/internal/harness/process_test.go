package harness_test

import (
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// A process that was killed can be paused, resumed and stopped, which do nothing, and started.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	z := harness.NewZone(t, "zone.example", 1, 0)
	p := harness.StartKnotPrimary(t, z)
	p.Kill()
	p.Pause()
	p.Resume()
	p.Stop()
	p.Start()
	if _, _, err := harness.TextsAt(z.Primaries[0], z.Name); err != nil {
		t.Error(err)
	}
}
