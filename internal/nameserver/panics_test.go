package nameserver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPanicsAreLoggedAtARate sends a message that makes for a panic again and again.
func TestPanicsAreLoggedAtARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s := &Server{log: slog.New(slog.NewTextHandler(&logged, nil))}
		message := make([]byte, 65535)
		send := func() {
			for range 1000 {
				s.logPanic("a bug", message)
			}
		}
		send()
		if lines := strings.Count(logged.String(), "\n"); lines != 1 || logged.Len() > 20_000 {
			t.Errorf("%d lines, %d bytes", lines, logged.Len())
		}
		time.Sleep(logPause)
		send()
		if lines := strings.Count(logged.String(), "\n"); lines != 2 || !strings.Contains(logged.String(), "unlogged=999") {
			t.Errorf("%d lines:\n%s", lines, logged.String())
		}
	})
}
