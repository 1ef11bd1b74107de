package service

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/api"
)

// refusals is a service for tests of what a refusal says: web1 has certificates in the
// hosted zone and elsewhere, ops has all of the zone.
func refusals(t *testing.T) *service {
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
		client web1 {
			token %s
			certificates under example.test
			certificates under elsewhere.test
		}
		client web2 {
			token %s
			certificates www.example.test
			certificates www.elsewhere.test
		}
		client ops {
			token %s
			allow under example.test
		}`, s.dns, s.store, s.digest("web1"), s.digest("far"), s.digest("ops")))
	s.token["web2"] = s.token["far"]
	return s
}

// change writes a change of one record; "" leaves a field out.
func change(op, name, typ, data string) string {
	record := api.Record{Name: name, Type: typ}
	if data != "" {
		record.Data = &data
	}
	text, err := json.Marshal(map[string][]api.Record{op: {record}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestRefusalSaysWhy: a refusal blames what is wrong, and the name only where it is
// the name.
func TestRefusalSaysWhy(t *testing.T) {
	const (
		challenge = "_acme-challenge.qq"
		form      = "exactly 43 base64url characters"
		elsewhere = "elsewhere.test"
	)
	tests := []struct {
		name, client, zone, body string
		status                   int
		want                     []string
	}{
		{"quotes", "web1", "", change("append", challenge, "TXT", `"`+challengeValue+`"`), 403, []string{form, "without quotes", "45 characters", `'"'`}},
		{"a word", "web1", "", change("append", challenge, "TXT", "hello"), 403, []string{form, "5 characters"}},
		{"line end", "web1", "", change("append", challenge, "TXT", challengeValue+"\n"), 403, []string{form, "line breaks", "44 characters", `'\n'`}},
		{"set", "web1", "", change("set", challenge, "TXT", challengeValue), 403, []string{"appended and deleted, not set"}},
		{"another type", "web1", "", change("append", challenge, "A", "192.0.2.1"), 403, []string{"certificates right", "TXT records only"}},
		{"delete without a value", "web1", "", change("delete", challenge, "TXT", ""), 403, []string{"needs the type TXT and the challenge's value"}},
		{"delete without a type", "web1", "", change("delete", challenge, "", ""), 403, []string{"needs the type TXT and the challenge's value"}},
		{"delete of an invalid value", "web1", "", change("delete", challenge, "TXT", "hello"), 403, []string{form}},
		{"no host name", "web1", "", change("append", "_acme-challenge.a_b", "TXT", challengeValue), 403, []string{"is not a host name", "letters, digits and hyphens"}},
		{"wildcard", "web1", "", change("append", "_acme-challenge.*.qq", "TXT", challengeValue), 403, []string{"wildcard", "without the *", `"_acme-challenge.qq.example.test."`}},
		{"wildcard of the one name", "web2", "", change("append", "_acme-challenge.*.www", "TXT", challengeValue), 403, []string{"wildcard", `"_acme-challenge.www.example.test."`}},
		{"NS at the apex", "ops", "", change("append", "@", "NS", "ns.example."), 403, []string{"NS", "names the type: allow example.test NS"}},

		{"at the target, a word", "web1", elsewhere, change("append", "_acme-challenge.www", "TXT", "hello"), 403, []string{form, "5 characters"}},
		{"at the target, set", "web1", elsewhere, change("set", "_acme-challenge.www", "TXT", challengeValue), 403, []string{"appended and deleted, not set"}},
		{"by the target's name, no host name", "web1", "acme.test", change("append", "a_b.elsewhere.test", "TXT", challengeValue), 403, []string{"is not a host name"}},
		{"by the target's name, wildcard", "web1", "acme.test", change("append", "*.www.elsewhere.test", "TXT", challengeValue), 403, []string{"wildcard", `"www.elsewhere.test.acme.test."`}},

		{"elsewhere, another type", "web1", elsewhere, change("append", "_acme-challenge.www", "A", "192.0.2.1"), 404, []string{"TXT records only"}},
		{"elsewhere, delete without a type", "web1", elsewhere, change("delete", "_acme-challenge.www", "", ""), 404, []string{"needs the type TXT and the challenge's value"}},
		{"elsewhere, no host name", "web1", elsewhere, change("append", "_acme-challenge.a_b", "TXT", challengeValue), 404, []string{"is not a host name"}},
		{"elsewhere, wildcard", "web2", elsewhere, change("append", "_acme-challenge.*.www", "TXT", challengeValue), 404, []string{"wildcard", `"_acme-challenge.www.elsewhere.test."`}},
	}
	s := refusals(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			zone := test.zone
			if zone == "" {
				zone = "example.test"
			}
			a := s.patch(t, test.client, zone, test.body)
			if a.status != test.status {
				t.Errorf("status %d, want %d: %s", a.status, test.status, a.body)
			}
			for _, want := range test.want {
				if !strings.Contains(a.problem.Detail, want) {
					t.Errorf("detail %q\ndoes not say %q", a.problem.Detail, want)
				}
			}
			if strings.Contains(a.problem.Detail, challengeValue) {
				t.Errorf("detail %q has the whole value", a.problem.Detail)
			}
		})
	}
}

// TestRefusalOfName: where no right covers the name, a refusal says that and nothing
// more, whatever else is wrong.
func TestRefusalOfName(t *testing.T) {
	tests := []struct {
		name, zone, body string
		want             string
	}{
		{"a challenge", "example.test", change("append", "_acme-challenge.qq", "TXT", challengeValue),
			`client "web2" may not append this TXT record at "_acme-challenge.qq.example.test." in zone "example.test."; it may: `},
		{"a word", "example.test", change("append", "_acme-challenge.qq", "TXT", "hello"),
			`client "web2" may not append this TXT record at "_acme-challenge.qq.example.test." in zone "example.test."; it may: `},
		{"set", "example.test", change("set", "_acme-challenge.qq", "TXT", challengeValue),
			`client "web2" may not set this TXT record at "_acme-challenge.qq.example.test." in zone "example.test."; it may: `},
		{"no host name", "example.test", change("append", "_acme-challenge.a_b", "TXT", challengeValue),
			`client "web2" may not append this TXT record at "_acme-challenge.a_b.example.test." in zone "example.test."; it may: `},
		{"wildcard", "example.test", change("append", "_acme-challenge.*.qq", "TXT", challengeValue),
			`client "web2" may not append this TXT record at "_acme-challenge.*.qq.example.test." in zone "example.test."; it may: `},
		{"no challenge", "example.test", change("append", "www", "TXT", challengeValue),
			`client "web2" may not append this TXT record at "www.example.test." in zone "example.test."; it may: `},
		{"NS at the apex", "example.test", change("append", "@", "NS", "ns.example."),
			`client "web2" may not append this NS record at "example.test." in zone "example.test."; it may: `},
		{"delete of all", "example.test", change("delete", "www", "", ""),
			`client "web2" may not delete records of every type at "www.example.test." in zone "example.test."; it may: `},
		{"elsewhere", "elsewhere.test", change("append", "_acme-challenge.qq", "A", "192.0.2.1"),
			`no zone that holds "_acme-challenge.qq.elsewhere.test." is hosted here, or this token has no right in it`},
		{"elsewhere, no host name", "elsewhere.test", change("append", "_acme-challenge.a_b", "TXT", challengeValue),
			`no zone that holds "_acme-challenge.a_b.elsewhere.test." is hosted here, or this token has no right in it`},
		{"elsewhere, no challenge", "elsewhere.test", change("append", "www", "TXT", challengeValue),
			`no zone that holds "www.elsewhere.test." is hosted here, or this token has no right in it`},
	}
	s := refusals(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := s.patch(t, "web2", test.zone, test.body)
			if rest, ok := strings.CutPrefix(a.problem.Detail, test.want); !ok || rest != "" && rest != "certificates www.example.test; certificates www.elsewhere.test" {
				t.Errorf("%d, detail %q\nwant    %q", a.status, a.problem.Detail, test.want)
			}
		})
	}
}

// TestRefusalWithoutTarget: who has the right to a challenge that no zone can take is
// told so, and no one else.
func TestRefusalWithoutTarget(t *testing.T) {
	s := newService(t)
	s.load(t, fmt.Sprintf("listen %s\nstore %q\nzone example.test {\nns ns1.example.test 127.0.0.1\n}\nclient web1 {\ntoken %s\ncertificates www.elsewhere.test\n}",
		s.dns, s.store, s.digest("web1")))
	for name, want := range map[string]string{"_acme-challenge.www": "no zone is marked cname_target", "_acme-challenge.qq": "or this token has no right in it"} {
		a := s.patch(t, "web1", "elsewhere.test", change("append", name, "TXT", challengeValue))
		if a.status != 404 || !strings.Contains(a.problem.Detail, want) {
			t.Errorf("%s: %d, detail %q\ndoes not say %q", name, a.status, a.problem.Detail, want)
		}
	}
}
