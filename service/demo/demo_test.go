//go:build !race

// The race detector finds Caddy's TLS app reading itself, for the event cert_obtaining,
// while its Start still writes (caddytls, up to v2.11.9): about once in fifty runs of the
// demonstration on a busy machine.

package demo_test

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-dns/bestdns/service"
	"github.com/caddy-dns/bestdns/service/demo"
)

// TestRun runs the demonstration as a user does, and looks for each of its steps
// and for what it leaves behind.
func TestRun(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := demo.Run(ctx, demo.Options{Out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Log("\n" + out.String())
	for _, want := range []string{
		`(?s)the CA looks up _acme-challenge\.demo\.example\.test and finds in DNS: TXT "[\w-]{43}".*certificate for \*\.demo\.example\.test, valid until`,
		`(?s)hello from www\.demo\.example\.test.*_acme-challenge\.demo\.example\.test is gone again`,
		`_acme-challenge\.demo\.elsewhere\.test CNAME demo\.elsewhere\.test\.example\.test`,
		`(?s)the CA looks up demo\.elsewhere\.test\.example\.test and finds.*certificate for \*\.demo\.elsewhere\.test`,
		`demo\.elsewhere\.test\.example\.test is gone again`,
		`payroll\.example\.test: refused: .*it may: certificates demo\.example\.test\n`,
		`done in`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no step matches %s", want)
		}
	}
	if strings.Contains(out.String(), "bestdns_") {
		t.Error("a token was printed")
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		t.Errorf("left behind: %s", file.Name())
	}
}

// TestKeep checks that --keep ends, and cleans up, when it is interrupted.
func TestKeep(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &watched{until: "Interrupt to end it", found: interrupt}
	if err := demo.Run(ctx, demo.Options{Out: out, Keep: true}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// watched calls found when a text has been written.
type watched struct {
	bytes.Buffer
	until string
	found func()
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.Buffer.String(), w.until) {
		w.found()
	}
	return n, err
}
