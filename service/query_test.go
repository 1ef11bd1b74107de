package service

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
)

// TestFilters finds by name and type what is there, and refuses what could be read in two
// ways.
func TestFilters(t *testing.T) {
	s := startStandard(t)
	s.must(t, "ops", "example.test", `{"append":[
		{"name":"one","type":"TXT","data":"text"},
		{"name":"one","type":"TYPE16","data":"\\# 2 01ff"},
		{"name":"one","type":"A","data":"192.0.2.1"},
		{"name":"two","type":"A","data":"192.0.2.2"},
		{"name":"two","type":"TYPE65280","data":"\\# 1 01"}]}`)
	const all = "/v1/zones/example.test/records"
	for query, want := range map[string][]string{
		"?name=one&type=TXT":     {"one TXT text", `one TYPE16 \# 2 01ff`},
		"?type=TYPE16&name=one":  {"one TXT text", `one TYPE16 \# 2 01ff`},
		"?type=type16":           {"one TXT text", `one TYPE16 \# 2 01ff`},
		"?name=two&type=a":       {"two A 192.0.2.2"},
		"?name=two&type=TYPE1":   {"two A 192.0.2.2"},
		"?type=TYPE65280":        {`two TYPE65280 \# 1 01`},
		"?name=%6fne&type=A":     {"one A 192.0.2.1"},
		"?name=nothing&type=TXT": nil,
	} {
		a := s.call(t, "ops", http.MethodGet, all+query, "")
		var got []string
		for _, r := range a.records {
			got = append(got, r.Name+" "+r.Type+" "+*r.Data)
		}
		if diff := cmp.Diff(want, got); diff != "" || a.status != http.StatusOK {
			t.Errorf("%s: %d (-want +got):\n%s", query, a.status, diff)
		}
	}
	for query, want := range map[string]string{
		"?name=one;type=A":       "separated by",
		"?name=one&name=two":     "given 2 times",
		"?type=A&type=A":         "given 2 times",
		"?name=":                 "no value",
		"?name=one&type=":        "no value",
		"?name":                  "no value",
		"?name=%zz":              "cannot be read",
		"?Name=one":              "unknown",
		"?name=one&limit=1":      "unknown",
		"?name=one&%6eame=two":   "given 2 times",
		"?name=one&type=A;name=": "separated by",
	} {
		a := s.call(t, "ops", http.MethodGet, all+query, "")
		if a.status != http.StatusBadRequest || a.problem.Kind() != api.BadRequest || !strings.Contains(a.problem.Detail, want) {
			t.Errorf("%s: %d, %q does not say %q", query, a.status, a.problem.Detail, want)
		}
	}
}

// TestReadImport refuses a query of an import that would be taken for another.
func TestReadImport(t *testing.T) {
	for query, want := range map[string]string{
		"":                                  "{Replace:false DryRun:false WithoutDNSSEC:false}",
		"?replace=true":                     "{Replace:true DryRun:false WithoutDNSSEC:false}",
		"?replace=false":                    "{Replace:false DryRun:false WithoutDNSSEC:false}",
		"?dry_run=true":                     "{Replace:false DryRun:true WithoutDNSSEC:false}",
		"?without_dnssec=true&replace=true": "{Replace:true DryRun:false WithoutDNSSEC:true}",
		"?dry_run=yes":                      "dry_run is true or false",
		"?replace=1":                        "not",
		"?replace":                          "no value",
		"?replace=true;x=y":                 "separated by",
		"?replace=true&replace=true":        "given 2 times",
		"?Replace=true":                     "unknown",
	} {
		how, err := readImport(httptest.NewRequest(http.MethodPost, "/bestdns/zones/example.test"+query, nil))
		got := fmt.Sprintf("%+v", how)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestFilterInHiddenZone: a client without a right in a zone gets the answer for a zone that
// is not there, whatever else it asks for.
func TestFilterInHiddenZone(t *testing.T) {
	s := startStandard(t)
	for _, query := range []string{"?type=QQQ", "?name=" + strings.Repeat("a", 64), "?name=x&type=AXFR"} {
		if a := s.call(t, "web1", http.MethodGet, "/v1/zones/secret.test/records"+query, ""); a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
		if a := s.call(t, "ops", http.MethodGet, "/v1/zones/example.test/records"+query, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}
