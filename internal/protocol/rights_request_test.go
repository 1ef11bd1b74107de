package protocol

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/api"
)

// request is a change as a client has sent it, by whatever protocol has appends, sets and deletes.
type request struct {
	what   string      // for messages: what was sent
	by     string      // the protocol
	client string      // whose records they are
	rules  *naiveWorld // of the client
	kind   string      // append, set or delete
	asked  labels
	items  []item
}

// change makes a random change by the API and holds what becomes of it against the rules.
func (w *rightsWorld) change() {
	w.t.Helper()
	client := pick(w, w.clients...)
	q := request{by: "API", client: client, rules: w.naive[client], kind: pick(w, "append", "append", "append", "set", "set", "delete", "delete"), asked: w.name()}
	if nested := w.nestedBelow(nil); nested != nil && w.chance(15) {
		q.asked = nested[1:]
	}
	q.items = []item{w.item(client, q.kind, q.asked)}
	for w.chance(15) {
		q.items = append(q.items, w.item(client, q.kind, q.asked))
	}
	body := map[string][]api.Record{}
	for _, it := range q.items {
		body[q.kind] = append(body[q.kind], it.sent)
	}
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	q.what = fmt.Sprintf("PATCH %q %s", q.asked, text)
	w.settle(q, w.patch(client, w.text(q.asked), text))
}

// settle holds what became of a request against the rules.
func (w *rightsWorld) settle(q request, a answer) {
	w.t.Helper()
	after := w.look()
	defer func() { w.state = after }()
	zone, may, why := w.judge(q)
	q.what = fmt.Sprintf("%s: %d %s", q.what, a.status, a.problem.Detail)
	overLimit := a.problem.Kind() == api.OverLimit
	if overLimit && may {
		why = "a limit"
	}
	switch {
	case a.status == http.StatusOK && !may:
		w.failf(q.client, "%s\nlet through, and there is no right to it: %s", q.what, why)
	case overLimit && (!may || w.overLimit(zone, q) == ""):
		w.failf(q.client, "%s\nrefused for a limit, and it would not be over one", q.what)
	case a.status != http.StatusOK && may && !overLimit && !w.otherwise(a, zone, q.items):
		w.failf(q.client, "%s\nrefused, and there is a right to it", q.what)
	case a.status != http.StatusOK:
		w.seen["refused for "+why]++
		w.unchanged(q.client, q.what, after)
		if may && zone.provider && !overLimit {
			w.renote(q)
		}
		return
	}
	w.checkChanged(q, after)
	w.remember(q, after)
	expected := w.written
	if q.kind != "delete" {
		expected = w.wouldBe(q)
	}
	w.keepBooks(q.client, q.what, expected, after)
	w.sawChange(q)
}

// unchanged: what was refused has changed nothing.
func (w *rightsWorld) unchanged(client, what string, after map[string]map[string]held) {
	w.t.Helper()
	for zone, before := range w.state {
		if !isSameZone(before, after[zone]) {
			w.failf(client, "%s\nrefused, and yet (-before +after):\n%s", what, cmp.Diff(before, after[zone], cmp.AllowUnexported(held{})))
		}
	}
}

// isSameZone compares zones as listed, whose keys say all of their records: cmp takes long.
func isSameZone(a, b map[string]held) bool {
	return maps.EqualFunc(a, b, func(held, held) bool { return true })
}

// sawChange counts what a request is an example of.
func (w *rightsWorld) sawChange(q request) {
	by, where := "certificates", "built-in "
	for _, it := range q.items {
		z, owner := q.rules.placed(q.asked, it.owner, it.typ)
		if q.rules.allowed(z, owner, it.typ) {
			by = "allow"
		}
		if z.provider {
			where = "provider "
		}
		if !slices.Equal(owner, it.owner) {
			w.seen["moved to a CNAME's target"]++
		}
		if q.rules.zoneOf(owner) != z {
			w.seen["delegation of a nested zone"]++
		}
		if owner[0] == "_validation-persist" && by == "allow" {
			w.seen["a standing permission"]++
		}
	}
	if q.by == "API" {
		w.seen[where+q.kind+" by "+by]++
	} else {
		w.seen[where+q.kind+" by "+q.by]++
	}
}

// judge says whether the naive reading lets a change through, and if not, why.
func (w *rightsWorld) judge(q request) (zone *naiveZone, may bool, why string) {
	for _, it := range q.items {
		if !it.valid {
			return nil, false, "a name" // or a type or a value
		}
		z, owner := q.rules.placed(q.asked, it.owner, it.typ)
		switch {
		case z == nil:
			return nil, false, "a zone"
		case zone != nil && zone != z:
			return nil, false, "two zones"
		case !q.rules.may(q.kind, z, owner, it.typ, it.says):
			return nil, false, "a right"
		}
		zone = z
	}
	return zone, true, "another reason"
}

// otherwise reports whether a change to which there is a right was refused for what
// has nothing to do with rights.
func (w *rightsWorld) otherwise(a answer, zone *naiveZone, items []item) bool {
	byRule := strings.Contains(a.problem.Detail, `rule "`) // on SOA, NS and CNAME
	odd := slices.ContainsFunc(items, func(it item) bool { return !it.plain })
	switch a.problem.Kind() {
	case api.Conflict:
		return byRule
	case api.InvalidRecord:
		return byRule || zone.provider && odd
	case api.ZoneNotFound:
		// The target for a domain that is hosted here opens no zone: no CNAME leads there.
		return zone.target && slices.ContainsFunc(items, func(it item) bool { return w.isHostedTarget(zone, it.owner) })
	}
	return false
}

// isHostedTarget reports whether a name is the target of a domain's challenge that is hosted here.
func (w *rightsWorld) isHostedTarget(zone *naiveZone, owner labels) bool {
	if !zone.target || !owner.in(zone.name) {
		return false
	}
	m := naiveTarget.FindStringSubmatch(owner[:len(owner)-len(zone.name)].slashed())
	return m != nil && (&naiveWorld{zones: w.zones}).zoneOf(append(labels{"_acme-challenge"}, splitSlashed(m[2])...)) != nil
}

// checkChanged: nothing has changed but what the items name.
func (w *rightsWorld) checkChanged(q request, after map[string]map[string]held) {
	w.t.Helper()
	for _, z := range w.zones {
		old, now := w.state[z.name.slashed()], after[z.name.slashed()]
		for key := range union(old, now) {
			if _, was := old[key]; was {
				if _, is := now[key]; is {
					continue
				}
			}
			changed := old[key]
			if changed.typ == "" {
				changed = now[key]
			}
			named := slices.ContainsFunc(q.items, func(it item) bool {
				to, owner := q.rules.placed(q.asked, it.owner, it.typ)
				if !slices.Equal(to.name, z.name) || !slices.Equal(owner, changed.owner) || it.typ != "" && it.typ != changed.typ {
					return false
				}
				return q.rules.allowed(to, owner, it.typ) || it.says != nil && *it.says == changed.data
			})
			if !named {
				w.failf(q.client, "%s\nchanged in %q: %+v", q.what, z.name, changed)
			}
		}
	}
}
