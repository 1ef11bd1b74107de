package e2e

import (
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/neighbour"
)

// It is not parallel: it measures.
func TestNoisyNeighbour(t *testing.T) { neighbour.Noisy(t) }

func TestUnfinishedBodies(t *testing.T) {
	t.Parallel()
	neighbour.UnfinishedBodies(t)
}
