package api

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblem(t *testing.T) {
	p := NewProblem(Forbidden, "web1 may do this and that only")
	p.RequestID, p.Unchanged = "r1", true
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"urn:bestdns:forbidden","title":"The token may not do this","status":403,` +
		`"detail":"web1 may do this and that only","request_id":"r1","unchanged":true}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.Kind() != Forbidden {
		t.Errorf("kind %q", p.Kind())
	}
}

func TestProblemKinds(t *testing.T) {
	if k := (&Problem{Type: "about:blank"}).Kind(); k != "" {
		t.Errorf("a foreign type is of the kind %q", k)
	}
	if p := NewProblem("none", "x"); p.Kind() != Internal || p.Status != 500 {
		t.Errorf("an unknown kind became %+v", p)
	}
	for kind := range kinds {
		p := NewProblem(kind, "")
		if p.Kind() != kind || p.Status < 400 || p.Title == "" || p.Error() != p.Title {
			t.Errorf("%s: %+v", kind, p)
		}
	}
}
