package service

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/record"
)

// TestSilenced: a record below a wildcard takes its host from it. The answer and the log
// say so, and the answer to a challenge stays for minutes, if its client forgets it.
func TestSilenced(t *testing.T) {
	s := newService(t)
	s.load(t, fmt.Sprintf(`
		listen %s
		store %q
		zone example.test {
			ns ns1.example.test 127.0.0.1
		}
		client ops {
			token %s
			certificates under example.test
			allow under example.test
		}`, s.dns, s.store, s.digest("ops")))
	app := newestApp(t)
	s.must(t, "ops", "example.test.", `{"append":[
		{"name":"*.wild","type":"A","data":"192.0.2.1"},
		{"name":"*.wild","type":"TXT","data":"any"},
		{"name":"there.wild","type":"A","data":"192.0.2.2"}]}`)
	silences := func(host string) []api.Silenced {
		return []api.Silenced{{Name: host + ".wild.example.test.", Wildcard: "*.wild.example.test."}}
	}
	const short, long = 10 * time.Minute, defaultChallengeLifetime
	for _, test := range []struct {
		name, records string
		want          []api.Silenced
		expires       time.Duration // of the first record, 0 for never
	}{
		{"a challenge", `{"name":"_acme-challenge.host.wild","type":"TXT","data":"VALUE1"}`, silences("host"), short},
		{"the challenge again", `{"name":"_acme-challenge.host.wild","type":"TXT","data":"VALUE1"}`, nil, short},
		{"another at the same name", `{"name":"_acme-challenge.host.wild","type":"TXT","data":"VALUE2"}`, nil, short},
		{"that of a host of its own", `{"name":"_acme-challenge.there.wild","type":"TXT","data":"VALUE1"}`, nil, short},
		{"that of the wildcard", `{"name":"_acme-challenge.wild","type":"TXT","data":"VALUE1"}`, nil, long},
		{"no wildcard", `{"name":"_acme-challenge.other","type":"TXT","data":"VALUE1"}`, nil, long},
		{"a service of a host", `{"name":"_sip._tcp.pbx.wild","type":"SRV","data":"1 2 5060 pbx.wild.example.test."}`, silences("pbx"), 0},
		{"a text of a host", `{"name":"text.wild","type":"TXT","data":"x"}`, silences("text"), 0},
		{"all types of the wildcard", `{"name":"own.wild","type":"A","data":"192.0.2.3"},{"name":"own.wild","type":"TXT","data":"x"}`, nil, 0},
		{"an alias", `{"name":"alias.wild","type":"CNAME","data":"www.example.test."}`, nil, 0},
		{"several", `{"name":"a.x.wild","type":"TXT","data":"1"},{"name":"b.x.wild","type":"TXT","data":"2"}`, silences("x"), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			records := strings.NewReplacer("VALUE1", challengeValue, "VALUE2", "B"+challengeValue[1:]).Replace(test.records)
			var changed struct {
				Records  []api.Record
				Silenced []api.Silenced
			}
			answer := s.must(t, "ops", "example.test.", fmt.Sprintf(`{"append":[%s]}`, records))
			if err := json.Unmarshal([]byte(answer.body), &changed); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, changed.Silenced); diff != "" {
				t.Errorf("silenced (-want +got):\n%s", diff)
			}
			owner, err := record.ParseOwner(changed.Records[0].Name, "\x07example\x04test\x00")
			if err != nil {
				t.Fatal(err)
			}
			snapshot, _ := app.shared.Snapshot("\x07example\x04test\x00")
			for _, r := range snapshot.At(owner) {
				lasts := time.Unix(r.Expires, 0).Sub(began).Round(10 * time.Second)
				if _, data := r.Text(); data == *changed.Records[0].Data && (test.expires == 0) != (r.Expires == 0) || r.Expires != 0 && lasts != test.expires {
					t.Errorf("%s expires in %s, want %s", r, lasts, test.expires)
				}
			}
		})
	}
	if log := s.log(t); strings.Count(log, "a wildcard does not answer any more") != 4 || !strings.Contains(log, `"name":"host.wild.example.test."`) {
		t.Errorf("the log has no line for each:\n%s", log)
	}
}
