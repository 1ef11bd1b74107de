package service

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

// TestTTLs: what answers a challenge gets the TTL of challenges unless its writer says
// another one, and everything else that of its zone.
func TestTTLs(t *testing.T) {
	memory.reset()
	s := newService(t)
	s.load(t, fmt.Sprintf(`
		listen %s
		store %q
		zone builtin.test {
			ns ns1.builtin.test 127.0.0.1
			ttl 5m
		}
		zone target.test {
			ns ns1.target.test 127.0.0.1
			cname_target
		}
		zone _acme-challenge.own.elsewhere.test {
			ns ns1.builtin.test
		}
		zone hosted.test {
			provider test_memory
		}
		zone quick.hosted.test {
			challenge_ttl 0
			provider test_memory
		}
		zone slow.hosted.test {
			ttl 2m
			challenge_ttl 10m
			provider test_memory
		}
		client ops {
			token %s
			allow under builtin.test
			allow under target.test
			allow under hosted.test
			allow under quick.hosted.test
			allow under slow.hosted.test
			allow under _acme-challenge.own.elsewhere.test
			certificates under example.org
		}`, s.dns, s.store, s.digest("ops")))
	const account = "_ujmmovf2vn55tgye"
	for _, test := range []struct {
		zone, name, value string
		ttl               string // in the request; absent if ""
		want              int64
	}{
		{"builtin.test", "_acme-challenge.www", challengeValue, "", 0},
		{"builtin.test", account + "._acme-challenge.www", challengeValue, "", 0},
		{"builtin.test", "_acme-challenge.told", challengeValue, "0", 0},
		{"builtin.test", "_acme-challenge.told", "B" + challengeValue[1:], "90", 90},
		{"builtin.test", "_acme-challenge.other", "no value of a challenge", "", 0},
		{"builtin.test", "_acme-challenge", challengeValue, "", 0},
		{"builtin.test", "www", challengeValue, "", 300},
		{"builtin.test", "www", "durable", "0", 0},
		{"target.test", "www.example.org", challengeValue, "", 0},
		{"target.test", account + ".www.example.org", challengeValue, "", 0},
		{"target.test", "www.example.org", "no value of a challenge", "", 0},
		{"target.test", "_dmarc", "durable", "", 60},
		{"target.test", "@", challengeValue, "", 60},
		{"example.org", "_acme-challenge.www", challengeValue, "", 0},
		{"_acme-challenge.own.elsewhere.test", "@", challengeValue, "", 0},
		{"hosted.test", "_acme-challenge.www", challengeValue, "", 60},
		{"hosted.test", "_acme-challenge.told", challengeValue, "0", 0},
		{"quick.hosted.test", "_acme-challenge.www", challengeValue, "", 0},
		{"quick.hosted.test", "www", "durable", "", 60},
		{"slow.hosted.test", "_acme-challenge.www", challengeValue, "", 600},
		{"slow.hosted.test", "www", "durable", "", 120},
	} {
		for _, op := range []string{"append", "set"} {
			if op == "set" && test.zone == "example.org" {
				continue // which a right to certificates does not allow
			}
			ttl := ""
			if test.ttl != "" {
				ttl = `"ttl":` + test.ttl + ","
			}
			answer := s.must(t, "ops", test.zone, fmt.Sprintf(`{%q:[{"name":%q,"type":"TXT",%s"data":%q}]}`, op, test.name, ttl, test.value))
			if len(answer.records) != 1 || *answer.records[0].TTL != test.want {
				t.Errorf("%s of %s TTL %q at %s in %s: %v, want TTL %d", op, test.value, test.ttl, test.name, test.zone, answer.records, test.want)
			}
		}
	}
}

// TestNegativeTTL: how long a negative answer may be kept is what the zone says, and not at
// all where an append can make it untrue at any time.
func TestNegativeTTL(t *testing.T) {
	s := newService(t)
	s.load(t, fmt.Sprintf(`
		listen %s
		store %q
		zone default.test {
			ns ns1.default.test 127.0.0.1
		}
		zone kept.test {
			ns ns1.kept.test 127.0.0.1
			negative_ttl 5m
		}
		zone target.test {
			ns ns1.target.test 127.0.0.1
			negative_ttl 5m
			cname_target
		}`, s.dns, s.store))
	for _, test := range []struct {
		name  string
		rcode int
		ttl   uint32
	}{
		{"missing.default.test.", dns.RcodeNameError, 0},
		{"ns1.default.test.", dns.RcodeSuccess, 0},
		{"_acme-challenge.missing.default.test.", dns.RcodeSuccess, 0},
		{"missing.kept.test.", dns.RcodeNameError, 300},
		{"ns1.kept.test.", dns.RcodeSuccess, 300},
		{"_acme-challenge.missing.kept.test.", dns.RcodeSuccess, 0},
		{"missing.target.test.", dns.RcodeSuccess, 0},
	} {
		m := s.ask(t, test.name, dns.TypeTXT)
		if m.Rcode != test.rcode || len(m.Answer) != 0 || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != test.ttl {
			t.Errorf("%s: %v, want %s with the SOA for %d s", test.name, m, dns.RcodeToString[test.rcode], test.ttl)
		}
	}
}
