package service

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-dns/bestdns/internal/access"
)

// TestClientRights checks that each right is written alike in a Caddyfile, in JSON and in
// what the service answers.
func TestClientRights(t *testing.T) {
	for verb := range access.Verbs() {
		t.Run(verb.String(), func(t *testing.T) {
			option, want := verb.String(), fmt.Sprintf(`{"name":"c",%q:true}`, verb)
			if verb.Arguments() != "" {
				argument := "under a.example.org"
				if verb == access.Persist {
					argument = "a.example.org"
				}
				option += " " + argument
				want = fmt.Sprintf(`{"name":"c",%q:[%q]}`, verb, argument)
			}
			var client Client
			d := caddyfile.NewTestDispenser("client c {\n" + option + "\n}")
			d.Next()
			if err := client.unmarshal(d); err != nil {
				t.Fatal(err)
			}
			if text, err := json.Marshal(client); err != nil || string(text) != want {
				t.Errorf("JSON %s, %v, want %s", text, err, want)
			}
			config, err := client.access()
			if err != nil {
				t.Fatal(err)
			}
			if len(config.Rules) != 1 || config.Rules[0].String() != option {
				t.Errorf("rules %q, want %q", config.Rules, option)
			}
		})
	}
}
