package protocol

import (
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// The naive reading of the limits: who wrote what is there, counted anew each time.

// naiveLimits are those of a world.
type naiveLimits struct{ clientRecords, nameTypes, rrsetRecords, domainChallenges int }

// written is a record in a built-in zone, and who wrote it.
type written struct {
	zone    string
	owner   string // as slashed returns it
	typ     string
	data    string
	ttl     uint32
	client  string // "" for what the server makes
	expires bool
}

// sameRecord says which of them are the same record.
func (r written) sameRecord(other written) bool {
	return r.zone == other.zone && r.owner == other.owner && r.typ == other.typ && r.data == other.data
}

// counts are what the limits are about, by what they are about.
func counts(records []written) map[string]int {
	n := make(map[string]int)
	types := make(map[string]bool)
	for _, r := range records {
		name := r.zone + " " + r.owner
		if r.client != "" {
			n["client "+r.client]++
		}
		if typ := name + " " + r.typ; !types[typ] {
			types[typ] = true
			n["types "+name]++
		}
		n["rrset "+name+" "+r.typ]++
		if r.expires {
			n["challenges "+r.zone+" "+naiveAccount.ReplaceAllString(r.owner, "")]++
		}
	}
	return n
}

var naiveAccount = regexp.MustCompile(`^_[a-z2-7]{16}/`)

// over returns what would be more than it may, and more than it was.
func (l naiveLimits) over(before, after []written) string {
	was := counts(before)
	for what, is := range counts(after) {
		kind, _, _ := strings.Cut(what, " ")
		most := map[string]int{"client": l.clientRecords, "types": l.nameTypes, "rrset": l.rrsetRecords, "challenges": l.domainChallenges}[kind]
		if is > most && is > was[what] {
			return what
		}
	}
	return ""
}

// wouldBe returns the records of built-in zones as an append or a set would leave them, if nothing
// but limits were in its way.
func (w *rightsWorld) wouldBe(q request) []written {
	next := slices.Clone(w.written)
	var news []written
	for _, it := range q.items {
		z, owner := q.rules.placed(q.asked, it.owner, it.typ)
		r := written{zone: z.name.slashed(), owner: owner.slashed(), typ: it.typ, client: q.client}
		if it.says != nil {
			r.data = *it.says
		} else if it.sent.Data != nil {
			r.data = *it.sent.Data
		}
		r.expires = q.kind == "append" && it.typ == "TXT" && naiveValue.MatchString(r.data) && q.rules.challenge(z, owner)
		if q.kind == "set" {
			next = slices.DeleteFunc(next, func(old written) bool { return old.zone == r.zone && old.owner == r.owner && old.typ == r.typ })
		}
		news = append(news, r)
	}
	for _, r := range news {
		there := false
		for i := range next {
			if next[i].sameRecord(r) {
				there = true
				next[i].expires = next[i].expires && r.expires
			}
		}
		if !there {
			next = append(next, r)
		}
	}
	return next
}

// keepBooks takes note of what a change has left, as it was expected to be written, and holds it
// against the limits.
func (w *rightsWorld) keepBooks(client, what string, expected []written, after map[string]map[string]held) {
	w.t.Helper()
	before := w.written
	w.written = nil
	for _, z := range w.zones {
		if z.provider {
			continue
		}
		for _, h := range after[z.name.slashed()] {
			r := written{zone: z.name.slashed(), owner: h.owner.slashed(), typ: h.typ, data: h.data}
			for _, e := range expected {
				if e.sameRecord(r) {
					r = e
				}
			}
			r.ttl = h.ttl
			w.written = append(w.written, r)
		}
		w.written = append(w.written, written{zone: z.name.slashed(), owner: z.name.slashed(), typ: "SOA"})
	}
	if over := w.limits.over(before, w.written); over != "" {
		w.failf(client, "%s\nlet through over the limit: %s", what, over)
	}
	want, got := make(map[string]int), make(map[string]int)
	for _, name := range w.clients {
		if n := counts(w.written)["client "+name]; n > 0 {
			want[name] = n
		}
	}
	for name, used := range w.server.Uses() {
		got[name] = used.Records
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.failf(client, "%s\nrecords of each client (-want +got):\n%s", what, diff)
	}
	w.checkOwners(client, what)
}

// checkOwners: each record in a built-in zone is whose it is to be, and expires if it is to.
func (w *rightsWorld) checkOwners(client, what string) {
	w.t.Helper()
	for _, z := range w.zones {
		snapshot, ok := w.server.Snapshot(w.parse(z.name))
		if !ok {
			continue
		}
		for r := range snapshot.Records(w.parse(z.name)) {
			typ, data := r.Text()
			is := written{zone: z.name.slashed(), owner: unescaped(r.Name.String()).slashed(), typ: typ, data: data}
			i := slices.IndexFunc(w.written, is.sameRecord)
			if typ == "SOA" || i < 0 { // what no one sees
				continue
			}
			want := w.written[i]
			if want.expires != (r.Expires != 0) {
				w.failf(client, "%s\nexpires: %v, want %v: %s", what, r.Expires != 0, want.expires, r)
			}
			if _, known := w.numbers[want.client]; !known {
				w.numbers[want.client] = r.Client
			}
			if w.numbers[want.client] != r.Client {
				w.failf(client, "%s\nit is client %d's, want %q (%d): %s", what, r.Client, want.client, w.numbers[want.client], r)
			}
		}
	}
}
