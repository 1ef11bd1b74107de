package harness

import (
	"testing"
	"time"
)

// Eventually waits until something outside of this process is so, by looking again and again,
// and fails the test if it is not so in time.
func Eventually(t testing.TB, within time.Duration, what string, isSo func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for !isSo() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not so within %s: %s", within, what)
		}
	}
}
