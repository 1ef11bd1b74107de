package solver

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNumbers: what is not a number counts as not set, and a file that cannot be read is
// logged too.
func TestNumbers(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name, value, file string
		wantInt           int
		wantTime          time.Duration
		wantLog           string
	}{
		{"unset", "", "", 7, 7 * time.Minute, ""},
		{"number", "5", "", 5, 5 * time.Second, ""},
		{"zero", "0", "", 0, 0, ""},
		{"negative", "-1", "", -1, 7 * time.Minute, ""},
		{"unit", "1m", "", 7, 7 * time.Minute, ""},
		{"value before file", "5", missing, 5, 5 * time.Second, ""},
		{"no such file", "", missing, 7, 7 * time.Minute, "bestdns: reading the file that TRIED_FILE names: open " + missing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var logged bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
			defer slog.SetDefault(before)
			t.Setenv("TRIED", tt.value)
			t.Setenv("TRIED_FILE", tt.file)
			if got := Int("TRIED", 7); got != tt.wantInt {
				t.Errorf("Int is %d, want %d", got, tt.wantInt)
			}
			if got := Seconds("TRIED", 7*time.Minute); got != tt.wantTime {
				t.Errorf("Seconds is %v, want %v", got, tt.wantTime)
			}
			if !strings.Contains(logged.String(), tt.wantLog) || (tt.wantLog == "") != (logged.Len() == 0) {
				t.Errorf("logged %q, want %q in it", &logged, tt.wantLog)
			}
		})
	}
}
