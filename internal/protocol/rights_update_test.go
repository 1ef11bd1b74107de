package protocol

import (
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/hosting"
)

// updates sends a random update and holds what becomes of it against the naive reading: the RCODE,
// and each record of each zone afterwards.
func (w *rightsWorld) updates() {
	w.t.Helper()
	client := pick(w, w.clients...)
	u := w.update(client)
	message := w.message(u)
	change, err := ReadUpdate(message)
	if err == nil {
		_, err = w.s.Change(w.t.Context(), hosting.Caller{Client: w.s.Clients().ByName(client)}, change)
	}
	rcode := UpdateRcode(err)
	after := w.look()
	defer func() { w.state = after }()
	v := w.judgeUpdate(u)
	what := fmt.Sprintf("UPDATE %+v: %s (%v), want %s", u, dns.RcodeToString[rcode], err, v)
	if v.perhaps && rcode == dns.RcodeRefused {
		v.rcodes = []int{rcode}
	}
	switch {
	case v.rcodes == nil && rcode != dns.RcodeSuccess, v.rcodes != nil && !slices.Contains(v.rcodes, rcode):
		w.failf(client, "%s", what)
	case v.rcodes != nil:
		w.unchanged(client, what, after)
		w.seen["update refused for "+v.why]++
		if v.asked {
			w.renoteUpdate(u, v.zone)
		}
		return
	}
	w.checkUpdated(client, what, v, after)
	expected := w.written
	if v.zone.provider {
		w.remembered = w.rememberedAfter(v.zone, v.next)
	} else {
		expected = w.replaced(v.zone, v.next)
	}
	w.keepBooks(client, what, expected, after)
	w.sawUpdate(u, v)
}

// String says what is expected.
func (v verdict) String() string {
	if v.rcodes == nil {
		return "success"
	}
	text := v.why + ":"
	for _, rcode := range v.rcodes {
		text += " " + dns.RcodeToString[rcode]
	}
	return text
}

// checkUpdated: the zone has become what it is to be, and the others are as they were. What TTL a
// provider makes of one is its own affair.
func (w *rightsWorld) checkUpdated(client, what string, v verdict, after map[string]map[string]held) {
	w.t.Helper()
	for _, z := range w.zones {
		if z.name.slashed() != v.zone.name.slashed() {
			if before, now := w.state[z.name.slashed()], after[z.name.slashed()]; !isSameZone(before, now) {
				w.failf(client, "%s\nanother zone, %q (-before +after):\n%s", what, z.name, cmp.Diff(before, now, cmp.AllowUnexported(held{})))
			}
			continue
		}
		line := func(owner, typ, data string, ttl uint32) string {
			if z.provider {
				ttl = 0
			}
			return fmt.Sprintf("%s %s %d %q", owner, typ, ttl, data)
		}
		want, got := []string{}, []string{}
		for _, r := range v.next {
			if r.typ != "SOA" {
				want = append(want, line(r.owner, r.typ, r.data, r.ttl))
			}
		}
		for _, h := range after[z.name.slashed()] {
			got = append(got, line(h.owner.slashed(), h.typ, h.data, h.ttl))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			w.failf(client, "%s\nzone %q (-want +got):\n%s", what, z.name, cmp.Diff(want, got))
		}
	}
}

// renoteUpdate is renote for an update.
func (w *rightsWorld) renoteUpdate(u naiveUpdate, zone *naiveZone) {
	if !zone.provider {
		return
	}
	q := request{client: u.client, rules: w.naive[u.client], kind: "append", asked: u.zone}
	for _, s := range u.steps {
		if s.op == "add" {
			q.items = append(q.items, item{owner: s.owner, typ: s.typ, says: &s.data})
		}
	}
	w.renote(q)
}

// sawUpdate counts what an update is an example of.
func (w *rightsWorld) sawUpdate(u naiveUpdate, v verdict) {
	where := "built-in update: "
	if v.zone.provider {
		where = "provider update: "
	}
	placed, _ := w.authorizeUpdate(w.naive[u.client], u, v.zone, u.steps)
	before := w.current(v.zone)
	for _, p := range placed {
		what := p.op
		if p.challenge {
			what += " a challenge"
		}
		if p.own {
			what += " what is its own"
			theirs := slices.ContainsFunc(v.next, func(r written) bool { return r.owner == p.owner.slashed() && r.typ == "TXT" })
			ours := slices.ContainsFunc(before, func(r written) bool {
				return r.owner == p.owner.slashed() && r.typ == "TXT" && r.client == u.client
			})
			if theirs {
				w.seen["an update has spared what is not the client's"]++
			}
			if ours {
				w.seen["an update has taken what is the client's"]++
			}
		}
		w.seen[where+what]++
	}
	if len(u.requires) > 0 {
		w.seen[where+"prerequisites are met"]++
	}
	if len(placed) > 1 {
		w.seen[where+"several steps"]++
	}
}
