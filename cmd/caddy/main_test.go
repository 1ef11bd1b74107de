package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/google/go-cmp/cmp"
)

// What the program has beside Caddy's own modules and commands.
func TestHasAllOfBestDNS(t *testing.T) {
	var modules []string
	for _, name := range caddy.Modules() {
		if strings.Contains(name, "bestdns") {
			modules = append(modules, name)
		}
	}
	slices.Sort(modules)
	want := []string{"admin.api.bestdns", "bestdns", "dns.providers.bestdns", "http.handlers.bestdns"}
	if diff := cmp.Diff(want, modules); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	if _, ok := caddycmd.Commands()["bestdns"]; !ok {
		t.Error("there is no command bestdns")
	}
}
