package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
)

// startDoubled is a service with zones of both kinds.
func startDoubled(t *testing.T) *service {
	t.Helper()
	memory.reset()
	s := newService(t)
	s.load(t, fmt.Sprintf(`
		listen %s
		store %q
		zone example.test {
			ns ns1.example.test 127.0.0.1
		}
		zone acme.test {
			ns ns1.acme.test 127.0.0.1
			cname_target
		}
		zone test.test {
			ns ns1.example.net
		}
		zone hosted.test {
			provider test_memory
		}
		client web1 {
			token %s
			certificates under example.test
			certificates under elsewhere.test
		}
		client ops {
			token %s
			allow under example.test
			allow under hosted.test
			allow under test.test
		}`, s.dns, s.store, s.digest("web1"), s.digest("ops")))
	return s
}

// TestDoubledName: a relative name that ends in the zone's own name lacks its final
// dot. It is refused with what to send instead, and not written twice as long.
func TestDoubledName(t *testing.T) {
	const (
		long  = "_acme-challenge.qq.example.test.example.test."
		short = `send "_acme-challenge.qq", or "_acme-challenge.qq.example.test." with its final dot`
	)
	tests := []struct {
		name, client, zone, body string
		status                   int
		want                     string
	}{
		{"append", "ops", "example.test", change("append", "_acme-challenge.qq.example.test", "TXT", challengeValue), 422, short},
		{"what it means", "ops", "example.test", change("append", "_acme-challenge.qq.example.test", "TXT", challengeValue), 422, long},
		{"set", "ops", "example.test", change("set", "_acme-challenge.qq.example.test", "TXT", challengeValue), 422, short},
		{"in capitals", "ops", "EXAMPLE.test.", change("append", "_acme-challenge.qq.Example.TEST", "TXT", challengeValue), 422, short},
		{"the zone itself", "ops", "example.test", change("append", "example.test", "TXT", "x"), 422, `send "@", or "example.test." with its final dot`},
		{"by certificates", "web1", "example.test", change("append", "_acme-challenge.qq.example.test", "TXT", challengeValue), 422, short},
		{"at a name without a right", "web1", "example.test", change("append", "www.example.test", "A", "192.0.2.1"), 422, `send "www", or "www.example.test."`},
		{"elsewhere", "web1", "elsewhere.test", change("append", "_acme-challenge.qq.elsewhere.test", "TXT", challengeValue), 422, `send "_acme-challenge.qq", or`},
		{"elsewhere, without a right", "ops", "elsewhere.test", change("append", "_acme-challenge.qq.elsewhere.test", "TXT", challengeValue), 422, `send "_acme-challenge.qq", or`},
		{"with a provider", "ops", "hosted.test", change("append", "www.hosted.test", "A", "192.0.2.1"), 422, `send "www", or`},
		{"relative to a name in a zone", "ops", "a.example.test", change("append", "www.a.example.test", "A", "192.0.2.1"), 422, `send "www", or`},

		{"absolute", "ops", "example.test", change("append", "a.example.test.", "TXT", "x"), 200, ""},
		{"absolute and doubled", "ops", "example.test", change("append", "b.example.test.example.test.", "TXT", "x"), 200, ""},
		{"absolute and doubled, with a provider", "ops", "hosted.test", change("append", "b.hosted.test.hosted.test.", "TXT", "x"), 200, ""},
		{"the name of a zone around", "ops", "a.example.test", change("append", "www.example.test", "TXT", "x"), 200, ""},
		{"a label that ends the same", "ops", "example.test", change("append", "wwwexample.test", "TXT", "x"), 200, ""},
		{"a label that spells the zone", "ops", "example.test", change("append", `www.example\.test`, "TXT", "x"), 200, ""},
		{"in a zone of doubled name", "ops", "test", change("append", "www.test", "A", "192.0.2.1"), 200, ""},
		{"in a zone of doubled name, without a right", "web1", "test", change("append", "www.test", "A", "192.0.2.1"), 422, `send "www", or`},
		{"lego's way", "ops", "_acme-challenge.qq.example.test", change("append", "@", "TXT", challengeValue), 200, ""},
		{"delete", "ops", "example.test", change("delete", "_acme-challenge.qq.example.test", "TXT", ""), 200, ""},
	}
	s := startDoubled(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := s.patch(t, test.client, test.zone, test.body)
			if a.status != test.status || !strings.Contains(a.problem.Detail, test.want) {
				t.Errorf("%d %s\nwant %d %q", a.status, a.body, test.status, test.want)
			}
			if a.status == 422 && (a.problem.Type != "urn:bestdns:invalid-record" || !a.problem.Unchanged) {
				t.Errorf("problem %+v", a.problem)
			}
		})
	}
}

// TestDoubledNameThatExists: where a doubled name is there already, it is meant.
func TestDoubledNameThatExists(t *testing.T) {
	s := startDoubled(t)
	s.must(t, "ops", "example.test", change("append", "a.b.example.test.example.test.", "TXT", "x"))
	s.must(t, "ops", "hosted.test", change("append", "a.b.hosted.test.hosted.test.", "TXT", "x"))
	for _, test := range []struct {
		client, zone, name string
		status             int
	}{
		{"ops", "example.test", "a.b.example.test", 200},
		{"ops", "example.test", "b.example.test", 200}, // there is one below
		{"ops", "example.test", "example.test", 200},
		{"ops", "example.test", "c.example.test", 422},
		{"ops", "example.test", "c.a.b.example.test", 422},
		// Who has no right there does not learn that it is there.
		{"web1", "example.test", "a.b.example.test", 422},
		{"web1", "example.test", "c.example.test", 422},
		// A provider is not asked.
		{"ops", "hosted.test", "a.b.hosted.test", 422},
	} {
		for _, op := range []string{"append", "set"} {
			if a := s.patch(t, test.client, test.zone, change(op, test.name, "TXT", "y")); a.status != test.status {
				t.Errorf("%s: %s %s: %d %s", test.client, op, test.name, a.status, a.body)
			}
		}
	}
	// What is there can be taken away under the name that a listing gives it.
	if gone := s.must(t, "ops", "hosted.test", change("delete", "a.b.hosted.test", "TXT", "x")); len(gone.records) != 1 {
		t.Errorf("deleted %s", gone.body)
	}
}

// TestDoubledInProcess has Caddy's own modules refused too: what certmagic sends for an
// override domain with a final dot.
func TestDoubledInProcess(t *testing.T) {
	s := startDoubled(t)
	const override = "qq.acme.test." // dns_challenge_override_domain
	records := []libdns.Record{libdns.TXT{Name: libdns.RelativeName(override+".", "acme.test."), Text: challengeValue}}
	_, err := newestApp(t).AppendRecords(t.Context(), "acme.test.", records)
	var failure *bestdns.Error
	if !errors.As(err, &failure) || failure.Status != 422 || !failure.Unchanged ||
		!strings.Contains(failure.Detail, "dns_challenge_override_domain") || !strings.Contains(failure.Detail, `"qq"`) {
		t.Errorf("%#v", err)
	}
	if got := s.texts(t, "qq.acme.test.acme.test."); len(got) != 0 {
		t.Errorf("DNS has %q", got)
	}
	records[0] = libdns.TXT{Name: libdns.RelativeName("qq.acme.test.", "acme.test."), Text: challengeValue}
	if _, err := newestApp(t).AppendRecords(t.Context(), "acme.test.", records); err != nil {
		t.Error(err)
	}
	if got := s.texts(t, "qq.acme.test."); !slices.Equal(got, []string{challengeValue}) {
		t.Errorf("DNS has %q", got)
	}
}
