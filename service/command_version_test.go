package service

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestVersionCommand(t *testing.T) {
	var out bytes.Buffer
	cmd := versionCommand()
	cmd.SetOut(&out)
	cmd.SetArgs(nil)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	caddyVersion, _ := caddy.Version()
	// The providers are those that the tests of this package register.
	want := []string{
		"BestDNS    devel",
		"Caddy      " + caddyVersion,
		"Go         " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		"providers  bestdns foreign_token test_deaf test_memory test_plain test_scripted",
		"",
	}
	got := strings.Split(out.String(), "\n")
	if len(got) != len(want) || !strings.HasPrefix(got[0], want[0]) {
		t.Fatalf("it printed\n%s\nwant\n%s", out.String(), strings.Join(want, "\n"))
	}
	for i := range want[1:] {
		if got[i+1] != want[i+1] {
			t.Errorf("line %d is %q, want %q", i+2, got[i+1], want[i+1])
		}
	}
}
