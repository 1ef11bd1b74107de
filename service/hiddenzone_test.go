package service

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHiddenZoneToTheByte: whatever is asked of a zone in which the client has no
// right, the answer is the one for a zone that does not exist, headers included, but
// for the request's id.
func TestHiddenZoneToTheByte(t *testing.T) {
	memory.reset()
	s := newService(t)
	s.load(t, s.standard()+"\nzone hosted.test {\nprovider test_memory\n}\n")
	long := strings.Repeat("x", 64)
	requests := []struct{ name, method, path, body string }{
		{"list", "GET", "/v1/zones/ZONE/records", ""},
		{"list below", "GET", "/v1/zones/a.b.ZONE/records", ""},
		{"list with a name", "GET", "/v1/zones/ZONE/records?name=a&type=TXT", ""},
		{"list with no name", "GET", "/v1/zones/ZONE/records?name=a..b", ""},
		{"list with no type", "GET", "/v1/zones/ZONE/records?type=NONE", ""},
		{"list, upper case and dot", "GET", "/v1/zones/ZONE./records", ""},
		{"append", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"TXT","data":"x"}]}`},
		{"challenge", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"_acme-challenge","type":"TXT","data":"` + challengeValue + `"}]}`},
		{"apex", "PATCH", "/v1/zones/ZONE/records", `{"set":[{"name":"@","type":"NS","data":"a."}]}`},
		{"delegation", "PATCH", "/v1/zones/test/records", `{"set":[{"name":"ZONE.","type":"NS","data":"a."}]}`},
		{"absolute, in another zone", "PATCH", "/v1/zones/example.test/records", `{"append":[{"name":"a.ZONE.","type":"A","data":"192.0.2.1"}]}`},
		{"behind a right one", "PATCH", "/v1/zones/example.test/records", `{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":"` + challengeValue + `"},{"name":"a.ZONE.","type":"A","data":"192.0.2.1"}]}`},
		{"delete all", "PATCH", "/v1/zones/ZONE/records", `{"delete":[{"name":"@"}]}`},
		{"nothing to do", "PATCH", "/v1/zones/ZONE/records", `{"delete":[]}`},
		{"SOA", "PATCH", "/v1/zones/ZONE/records", `{"delete":[{"name":"@","type":"SOA"}]}`},
		{"bad name", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a..b","type":"TXT","data":"x"}]}`},
		{"long label", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"` + long + `","type":"TXT","data":"x"}]}`},
		{"bad type", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"NONE","data":"x"}]}`},
		{"bad data", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"A","data":"x"}]}`},
		{"bad TTL", "PATCH", "/v1/zones/ZONE/records", `{"append":[{"name":"a","type":"A","ttl":-1,"data":"192.0.2.1"}]}`},
		{"bad JSON", "PATCH", "/v1/zones/ZONE/records", `{"append":`},
		{"another method", "PUT", "/v1/zones/ZONE/records", ""},
	}
	const missing = "absent.test" // as long as the others, so that Content-Length agrees
	for _, hidden := range []string{"secret.test", "hosted.test"} {
		for _, request := range requests {
			t.Run(hidden+" "+request.name, func(t *testing.T) {
				ask := func(zone string) string {
					in := strings.NewReplacer("ZONE", zone)
					a := s.call(t, "web1", request.method, in.Replace(request.path), in.Replace(request.body))
					if a.status < 400 {
						t.Fatalf("%d %s", a.status, a.body)
					}
					id := a.header.Get("X-Request-Id")
					a.header.Del("Date")
					a.header.Del("X-Request-Id")
					return strings.NewReplacer(zone, "ZONE", id, "ID").Replace(fmt.Sprint(a.status, a.header, a.body))
				}
				if diff := cmp.Diff(ask(missing), ask(hidden)); diff != "" {
					t.Errorf("(-not there +hidden):\n%s", diff)
				}
			})
		}
	}
}
