package service

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestZoneMadeWithin makes a zone within another that has records there: whose rights
// end at the new zone does not see them any more. They come back with its end.
func TestZoneMadeWithin(t *testing.T) {
	s := startStandard(t)
	s.must(t, "ops", "example.test", `{"append":[
		{"name":"a.made","type":"TXT","data":"x"}, {"name":"made","type":"TXT","data":"x"}, {"name":"made","type":"NS","data":"ns1.example.net."},
		{"name":"a.deeper.made","type":"TXT","data":"x"}, {"name":"deeper.made","type":"TXT","data":"x"}, {"name":"unmade","type":"TXT","data":"x"}]}`)
	list := func() (names []string) {
		for _, r := range s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").records {
			if strings.Contains(r.Name, "made") {
				names = append(names, r.Name+" "+r.Type)
			}
		}
		return names
	}
	before := list()
	s.load(t, s.standard()+`
		zone made.example.test {
			ns ns1.example.net
		}
		zone deeper.made.example.test {
			ns ns1.example.net
		}`)
	if diff := cmp.Diff([]string{"made NS", "made TXT", "unmade TXT"}, list()); diff != "" {
		t.Errorf("with zones within (-want +got):\n%s", diff)
	}
	warned := s.logged(t, "a zone hides records of the zone around it, which has them still: export that one to move them", "zone", "around", "first")
	if diff := cmp.Diff([][]string{
		{"made.example.test.", "example.test.", "a.made.example.test."},
	}, warned); diff != "" {
		t.Errorf("warned (-want +got):\n%s", diff)
	}
	s.load(t, s.standard())
	if diff := cmp.Diff(before, list()); diff != "" || len(before) != 6 {
		t.Errorf("without them again (-before +now):\n%s", diff)
	}
}
