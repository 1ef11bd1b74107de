package neighbour

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// envNeighbour is the variable that has the noisy neighbour test attack for so long
// in each row, and hold what a service on an otherwise idle machine has to.
const envNeighbour = "BESTDNS_NEIGHBOUR"

// Noisy has a client do its worst in each of many ways, by 64 connections
// at once, beside another that obtains certificates and resolvers that ask for names
// of a third. It prints a table of what became of them.
func Noisy(t *testing.T) {
	bounds := boundsFromEnv(t)
	fmt.Println(neighbourHeader)
	beside := make(map[bool]outcome) // what is compared with, of attacks on Caddy itself and of others
	for _, attack := range []attack{harmless, caddyStreams} {
		got := attack.measure(t, bounds)
		fmt.Println(got.row())
		beside[attack.atCaddy] = got
	}
	for _, attack := range attacks() {
		if attack.long && !bounds.long {
			continue
		}
		bounds := bounds
		t.Run(strings.ReplaceAll(attack.name, "/", ""), func(t *testing.T) {
			got := attack.measure(t, bounds)
			fmt.Println(got.row())
			other := beside[attack.atCaddy]
			bounds.p99 = max(bounds.p99, time.Duration(bounds.timesHarmless*float64(other.attacked.p99)))
			bounds.memory = mostMemory
			if attack.atCaddy {
				// Nothing here can keep Caddy's server from what it lets anyone do.
				bounds.p99, bounds.saturated = max(bounds.p99, 5*time.Second), true
				bounds.memory += 2 * (other.peak - other.before)
			}
			got.assert(t, bounds)
		})
	}
}

// UnfinishedBodies opens changes whose bodies do not end, many on a connection of
// HTTP/2, and closes the connections about when the service gives the bodies up.
func UnfinishedBodies(t *testing.T) {
	const streams, rounds = 200, 2
	n := NewNeighbourhood(t, certificatesRight, "")
	ctx, cancel := context.WithTimeout(t.Context(), rounds*closeAfter(attackConnections-1)+5*time.Second)
	defer cancel()
	a := &Attacker{Neighbourhood: n, ctx: ctx}
	began := time.Now()
	var attacking sync.WaitGroup
	for i := range attackConnections {
		attacking.Go(func() { a.unfinished(i, streams, nil, closeAfter(i)) })
	}
	select {
	case <-n.ended:
		t.Errorf("after %s, of which each connection is open for 9.99 to 10.02 s, the service %s", time.Since(began), n.whatEnded())
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatal(ctx.Err())
		}
	}
	cancel()
	attacking.Wait()
	if !n.Alive() {
		return
	}
	if counts, _ := a.answers.all(); counts["opened"] < attackConnections*streams*rounds/2 {
		t.Errorf("too few bodies were begun to show anything: %v", counts)
	}
	if err := n.healthy(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
