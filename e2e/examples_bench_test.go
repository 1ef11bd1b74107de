package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// BenchmarkExamples has clients append a challenge and delete it again through the service of
// an example, in rounds of a second: "ms" is until the append is answered, which is when all
// name servers serve it.
//
//	go test -run '^$' -bench Examples -benchtime 10x .
func BenchmarkExamples(b *testing.B) {
	for _, example := range []struct {
		name    string
		changes map[string]string
	}{
		{"one-server", nil},
		{"secondaries", nil},
		{"knot", nil},
		{"knot without notify", map[string]string{"\t\t\tnotify NET53.2\n": ""}},
		{"bind", nil},
		{"bind without notify", map[string]string{"\t\t\tnotify NET53.2\n": "", "notify-delay 0;": "notify-delay 5;"}},
		{"powerdns", nil},
	} {
		b.Run(example.name, func(b *testing.B) {
			endpoint, token := startBenchmarked(b, example.name, example.changes)
			for _, clients := range []int{1, 16, 64} {
				b.Run(fmt.Sprint(clients), func(b *testing.B) {
					var served pairs
					for b.Loop() {
						served.round(clients, func(_ context.Context, client int) changer {
							return &apiClient{provider: &bestdns.Provider{Endpoint: endpoint, APIToken: token}, name: challengeName(client)}
						})
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(served.rate(), "pairs/s")
					b.ReportMetric(served.quantile(0.5), "p50-ms")
					b.ReportMetric(served.quantile(0.99), "p99-ms")
					if served.failed != nil {
						b.Error(served.failed)
					}
				})
			}
		})
	}
}

// startBenchmarked runs an example, and returns its API and a token for it.
func startBenchmarked(b *testing.B, name string, changes map[string]string) (endpoint, token string) {
	b.Helper()
	if name == "one-server" {
		w := harness.NewWorld(b)
		file := filepath.Join(b.TempDir(), "Caddyfile")
		harness.NoError(b, os.WriteFile(file, fmt.Appendf(nil, oneServer, harness.Testdata(b, "harness.caddyfile")), 0o600))
		harness.StartCaddy(b, harness.CaddyBinary, file, w.Env(b))
		return "http://" + w.API, w.Token
	}
	example, _, _ := strings.Cut(name, " ")
	r, _ := startBroken(b, example, changes, "")
	return "http://" + r.API, r.Token
}

// oneServer is a service with a zone of its own, and a format for the options of tests.
const oneServer = `{
	import %s
	bestdns {
		listen {$DNS}
		store {$STORE}
		zone example.com {
			ns ns1.example.com 127.0.0.1
		}
		client web1 {
			token {$TOKEN_DIGEST}
			certificates under example.com
		}
	}
}

http://127.0.0.1:{$API_PORT} {
	bestdns
}
`

// apiClient makes changes through the service.
type apiClient struct {
	provider *bestdns.Provider
	name     string
}

func (c *apiClient) append(text string) error {
	_, err := c.provider.AppendRecords(context.Background(), "example.com.", c.records(text))
	return err
}

func (c *apiClient) delete(text string) error {
	deleted, err := c.provider.DeleteRecords(context.Background(), "example.com.", c.records(text))
	if err == nil && len(deleted) != 1 {
		err = fmt.Errorf("%d records were deleted at %q, want one", len(deleted), c.name)
	}
	return err
}

// records returns a challenge made of a text, of the form that a CA's has.
func (c *apiClient) records(text string) []libdns.Record {
	digest := sha256.Sum256([]byte(text))
	return []libdns.Record{libdns.TXT{Name: c.name, Text: base64.RawURLEncoding.EncodeToString(digest[:])}}
}

func (c *apiClient) close() {}
