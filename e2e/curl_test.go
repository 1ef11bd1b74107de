package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// TestREADMECurl runs the README's lines of curl, as they are there but for the
// address.
func TestREADMECurl(t *testing.T) {
	t.Parallel()
	harness.Debian(t, "curl", "curl")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, part := range strings.Split(string(readme), "\n```sh\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		if strings.HasPrefix(block, "curl ") {
			examples = append(examples, block)
		}
	}
	if len(examples) < 2 {
		t.Fatalf("the README has %d examples of curl", len(examples))
	}

	w := harness.NewWorld(t)
	caddy := harness.StartCaddy(t, harness.CaddyBinary, "curl.caddyfile", w.Env(t))
	addresses := strings.NewReplacer("https://dns.example.net", "http://"+w.API, "127.0.0.1:2019", caddy.Admin)
	changed := false
	for _, example := range examples {
		line := addresses.Replace(example)
		if line == example {
			t.Errorf("the example calls neither https://dns.example.net nor 127.0.0.1:2019:\n%s", example)
			continue
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BESTDNS_API_TOKEN=" + w.Token}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%v:\n%s", err, example)
			continue
		}
		var problem api.Problem
		if json.Unmarshal(out, &problem); problem.Type != "" {
			t.Errorf("answered %s:\n%s", out, example)
		}
		var answer api.Records
		if json.Unmarshal(out, &answer) == nil && len(answer.Records) == 1 {
			changed = slices.ContainsFunc(w.Records(t, "example.org"), func(r api.Record) bool {
				return r.Name == "_acme-challenge.web1" && *r.Data == *answer.Records[0].Data
			})
		}
	}
	if !changed {
		t.Error("none of the examples has added the record that it answers with")
	}
}
