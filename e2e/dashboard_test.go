package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// panel is one rectangle of a Grafana dashboard.
type panel struct {
	Title   string `json:"title"`
	Type    string `json:"type"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// queries returns the panel's queries with a value for each of Grafana's variables: all
// zones, all instances, and the interval over which rates are taken.
func (p panel) queries(rate time.Duration) (queries []string) {
	variables := strings.NewReplacer(
		"$__rate_interval", fmt.Sprintf("%ds", int(rate.Seconds())),
		"$instance", ".*",
		"$zone", ".+",
	)
	for _, target := range p.Targets {
		queries = append(queries, variables.Replace(target.Expr))
	}
	return queries
}

// readDashboard returns the panels of the dashboard of docs/monitoring.
func readDashboard(t testing.TB) []panel {
	t.Helper()
	text, err := os.ReadFile("../docs/monitoring/dashboard.json")
	harness.NoError(t, err)
	var dashboard struct {
		Panels []panel `json:"panels"`
	}
	harness.NoError(t, json.Unmarshal(text, &dashboard))
	return dashboard.Panels
}

// showsSomething reports whether Prometheus has an answer to any of the panel's queries:
// at the end of a time, or, of what is shown over time, at any moment of it.
func (p panel) showsSomething(t testing.TB, prometheus string, rate time.Duration, from, to time.Time) bool {
	t.Helper()
	return slices.ContainsFunc(p.queries(rate), func(query string) bool {
		call, form := "query", url.Values{"query": {query}, "time": {to.Format(time.RFC3339)}}
		if p.Type == "timeseries" {
			call = "query_range"
			form = url.Values{"query": {query}, "start": {from.Format(time.RFC3339)}, "end": {to.Format(time.RFC3339)}, "step": {"1s"}}
		}
		resp, err := http.Get(prometheus + "/api/v1/" + call + "?" + form.Encode())
		harness.NoError(t, err)
		defer resp.Body.Close()
		var answer struct {
			Error string
			Data  struct{ Result []any }
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("panel %q: %s %s (%v)", p.Title, resp.Status, answer.Error, err)
		}
		return len(answer.Data.Result) > 0
	})
}
