package rfc2136

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// updating makes an update out of records to append and matches to delete, in order, and prerequisites.
func updating(parts ...any) record.Change {
	c := record.Change{Op: record.Update}
	for _, part := range parts {
		switch part := part.(type) {
		case record.Record:
			c.Order, c.Records = append(c.Order, record.Append), append(c.Records, part)
		case record.Match:
			c.Order, c.Matches = append(c.Order, record.Delete), append(c.Matches, part)
		case record.Prerequisite:
			c.Prerequisites = append(c.Prerequisites, part)
		}
	}
	return c
}

// requiring returns a prerequisite about an RRset, or a name if typ is zero.
func requiring(name string, typ record.Type, exists bool, data ...string) record.Prerequisite {
	owner, err := record.ParseOwner(name, testZone)
	if err != nil {
		panic(err)
	}
	q := record.Prerequisite{Name: owner, Type: typ, Exists: exists}
	for _, value := range data {
		q.Data = append(q.Data, text(name, value).Data)
	}
	return q
}

// steps returns the last update that was sent, and its prerequisites, as text.
func (f *fake) steps() (required, updates []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := func(rr dns.RR) string {
		h := rr.Header()
		return strings.TrimSuffix(h.Name, "."+zoneName) + " " + dns.ClassToString[h.Class] + " " + dns.TypeToString[h.Rrtype] + strings.TrimSuffix(" "+dataOf(rr), " ")
	}
	for _, rr := range f.required[len(f.required)-1] {
		required = append(required, line(rr))
	}
	for _, rr := range f.updates[len(f.updates)-1] {
		updates = append(updates, line(rr))
	}
	return required, updates
}

// TestUpdatesArePassedOn: an update is sent with its steps in their order, and its prerequisites.
func TestUpdatesArePassedOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := new(fake).lines("a.zone.test. 60 TXT one", "a.zone.test. 60 A 192.0.2.1", "b.zone.test. 60 TXT two")
		z := f.zone(t, Config{})
		change(t, z, "c", updating(
			requiring("a", record.TypeTXT, true), requiring("x", 0, false), requiring("b", record.TypeTXT, true, "two"), requiring("b", record.TypeA, false), requiring("b", 0, true),
			text("new", "before"), matching("new", "TXT", ""), text("new", "after"), matching("a", "", ""), matching("b", "TXT", "two"), text("b", "other"),
		))
		required, updates := f.steps()
		if diff := cmp.Diff([]string{"a ANY TXT", "x NONE ANY", `b IN TXT "two"`, "b NONE A", "b ANY ANY"}, required); diff != "" {
			t.Errorf("prerequisites (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{`new IN TXT "before"`, "new ANY TXT", `new IN TXT "after"`, "a ANY ANY", `b NONE TXT "two"`, `b IN TXT "other"`}, updates); diff != "" {
			t.Errorf("updates (-want +got):\n%s", diff)
		}
		var left []string
		for _, rr := range f.records {
			left = append(left, strings.Fields(rr.String())[0]+" "+dataOf(rr))
		}
		slices.Sort(left)
		if want := []string{`b.zone.test. "other"`, `new.zone.test. "after"`}; !slices.Equal(left, want) {
			t.Errorf("left is %q, want %q", left, want)
		}
	})
}

// TestPrerequisitesAreMappedBack: what the primary says is not met is what the caller is told.
func TestPrerequisitesAreMappedBack(t *testing.T) {
	met := requiring("a", record.TypeTXT, true)
	for _, not := range []record.Prerequisite{
		requiring("x", 0, true), requiring("a", 0, false), requiring("x", record.TypeTXT, true), requiring("a", record.TypeTXT, false), requiring("a", record.TypeTXT, true, "two"), requiring("a", record.TypeTXT, true, "one", "two"),
	} {
		inBubble(t, func(t *testing.T) {
			f := new(fake).lines("a.zone.test. 60 TXT one")
			z := f.zone(t, Config{})
			parts := []any{not, text("new", "x"), matching("a", "TXT", "")}
			if not.Rcode() != met.Rcode() { // or the first of both would be meant
				parts = append([]any{met}, parts...)
			}
			_, err := z.Change(t.Context(), "c", updating(parts...), nil)
			var notMet *record.PrerequisiteError
			if !errors.As(err, &notMet) {
				t.Fatalf("%+v: %v", not, err)
			}
			if diff := cmp.Diff(not, notMet.Prerequisite); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if f.has("new") || !f.has("a") {
				t.Error("the zone has changed")
			}
			if z.suspects.has("c", time.Now()) {
				t.Error("a client is suspect for a prerequisite")
			}
		})
	}
}

// TestRefusedUpdates: an RCODE that none of the prerequisites has is an error like others, and nothing has
// changed.
func TestRefusedUpdates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := new(fake).lines("a.zone.test. 60 TXT one")
		f.refuses = func([]dns.RR) int { return dns.RcodeRefused }
		z := f.zone(t, Config{})
		_, err := z.Change(t.Context(), "c", updating(requiring("x", 0, false), text("new", "x")), nil)
		assertError(t, err, Refused, true, "REFUSED")
		if !z.suspects.has("c", time.Now()) {
			t.Error("it is not suspect")
		}
		f.set(func() { f.refuses = func([]dns.RR) int { return dns.RcodeYXDomain } })
		_, err = z.Change(t.Context(), "d", updating(requiring("a", 0, true), text("new", "x")), nil)
		assertError(t, err, Conflict, true, "YXDOMAIN")
		var notMet *record.PrerequisiteError
		if errors.As(err, &notMet) {
			t.Errorf("a prerequisite that does not have that RCODE: %v", err)
		}
		if f.has("new") {
			t.Error("the zone has changed")
		}
	})
}

// TestUpdatesAreAlone: no other change is in the message of an update, whose prerequisites are those of
// all of it.
func TestUpdatesAreAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		send := func(client string, c record.Change) {
			all.Go(func() { change(t, z, client, c) })
			synctest.Wait()
		}
		send("first", appending(text("first", "x")))
		for i, client := range []string{"a", "b", "c", "d", "e"} {
			c := appending(text(client, "x"))
			if i == 2 {
				c = updating(requiring("zz", 0, false), text(client, "x"), matching("gone", "TXT", ""))
			}
			send(client, c)
		}
		all.Wait()
		assertSent(t, f, "first", "a b", "c -gone", "d e")
		for i, required := range f.required {
			if (len(required) > 0) != (i == 2) {
				t.Errorf("message %d has %d prerequisites", i, len(required))
			}
		}
	})
}

// TestUpdatesOfNothing: prerequisites alone are asked for, and nothing at all is not sent.
func TestUpdatesOfNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := new(fake).lines("a.zone.test. 60 TXT one")
		z := f.zone(t, Config{})
		change(t, z, "c", updating())
		if len(f.sent()) > 0 {
			t.Errorf("sent %q", f.sent())
		}
		change(t, z, "c", updating(requiring("a", 0, true)))
		if _, err := z.Change(t.Context(), "c", updating(requiring("a", 0, false)), nil); err == nil {
			t.Error("a prerequisite that is not met is not an error")
		}
		assertSent(t, f, "", "")
	})
}

// TestUpdatesAreMadeOnce: an update with prerequisites is not sent again when a connection closes: it may
// have been made, and then they are not met.
func TestUpdatesAreMadeOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		z := f.zone(t, Config{})
		for i := range 2 {
			change(t, z, "c", appending(text(fmt.Sprint("before", i), "x"))) // by a connection that is kept
		}
		f.set(func() { f.on = func(n int) action { return closesConn } })
		_, err := z.Change(t.Context(), "c", updating(requiring("new", 0, false), text("new", "x")), nil)
		assertError(t, err, Failed, false, "unknown")
		f.set(func() { f.on = nil })
		assertSent(t, f, "before0", "before1", "new")

		// One whose server has closed the connection meanwhile is made all the same.
		change(t, z, "c", appending(text("after", "x")))
		f.closeAll()
		change(t, z, "c", updating(requiring("newer", 0, false), text("newer", "x")))
		if !f.has("new") || !f.has("newer") {
			t.Error("it was not made")
		}
	})
}

// TestUpdatesThatCannotBeServed: what a server does not take although it says so, beside a CNAME, is an
// error, and what of it is there is deleted again. What the update has deleted is not known to be as it was.
func TestUpdatesThatCannotBeServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := new(fake).lines("alias.zone.test. 60 CNAME b.zone.test.", "gone.zone.test. 60 TXT x")
		f.ignores = func(rr dns.RR) bool { return rr.Header().Name == "alias.zone.test." }
		z := f.zone(t, Config{})
		_, err := z.Change(t.Context(), "c", updating(text("alias", "x"), matching("gone", "TXT", ""), text("other", "x")), nil)
		assertError(t, err, Conflict, false, "CNAME")
		assertSent(t, f, "alias -gone other", "-alias")
		if f.has("gone") {
			t.Error("what was deleted is there again")
		}
	})
}

// TestUpdatesThatAreLost: what another writer has replaced meanwhile is not added again, since an update
// may have been meant to be so.
func TestUpdatesThatAreLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{ignores: func(dns.RR) bool { return true }}
		z := f.zone(t, Config{})
		change(t, z, "c", updating(text("new", "x"), matching("gone", "TXT", "")))
		assertSent(t, f, "new -gone")
	})
}

// TestLargeUpdates: prerequisites take room in the message too.
func TestLargeUpdates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		z := f.zone(t, Config{})
		long := strings.Repeat("x", 40_000)
		_, err := z.Change(t.Context(), "c", updating(requiring("a", record.TypeTXT, true, long), text("a", long)), nil)
		assertError(t, err, TooLarge, true, "send it in parts")
		change(t, z, "c", updating(text("a", long), matching("b", "TXT", "")))
		for _, c := range []record.Change{updating(text("a", "x"), matching("@", "SOA", "")), updating(matching("@", "SOA", ""))} {
			var broken *record.RuleError
			if _, err := z.Change(t.Context(), "c", c, nil); !errors.As(err, &broken) || broken.Rule != record.RuleSOA {
				t.Errorf("an SOA record: %v", err)
			}
		}
		assertSent(t, f, "a -b")
	})
}
