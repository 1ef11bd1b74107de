package record_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/internal/record"
)

// step is a step of an update: a record to append, or what to delete.
type step struct {
	add    string // as lines has it
	delete *record.Match
}

func add(line string) step { return step{add: line} }

// drop deletes what is at a name; typ and data are "" for any.
func drop(t testing.TB, owner, typ, data string) step {
	t.Helper()
	var given *string
	if data != "" {
		given = &data
	}
	m, err := record.MatchAt(name(t, owner+".example.org"), typ, nil, given)
	if err != nil {
		t.Fatal(err)
	}
	return step{delete: &m}
}

func (s step) own() step {
	m := *s.delete
	m.Own = true
	return step{delete: &m}
}

// updateOf makes an update of a client.
func updateOf(t testing.TB, client uint32, steps ...step) record.Change {
	t.Helper()
	c := record.Change{Op: record.Update, Client: client}
	for _, s := range steps {
		if s.delete != nil {
			c.Order, c.Matches = append(c.Order, record.Delete), append(c.Matches, *s.delete)
			continue
		}
		r := lines(t, s.add)[0]
		r.Client = client
		c.Order, c.Records = append(c.Order, record.Append), append(c.Records, r)
	}
	return c
}

func TestUpdate(t *testing.T) {
	before := []string{"a 60 TXT one", "a 60 TXT two", "a 60 A 192.0.2.1", "c 60 CNAME a.example.org."}
	for _, test := range []struct {
		name  string
		steps []step
		want  []string // nil: an error
		left  int      // how many of the appended records the update leaves
	}{
		{"nothing", nil, before, 0},
		{"replaces an RRset", []step{drop(t, "a", "TXT", ""), add("a 60 TXT three")},
			[]string{"a 60 A 192.0.2.1", "a 60 TXT three", "c 60 CNAME a.example.org."}, 1},
		{"adds before it deletes", []step{add("a 60 TXT three"), drop(t, "a", "TXT", "")},
			[]string{"a 60 A 192.0.2.1", "c 60 CNAME a.example.org."}, 0},
		{"replaces a CNAME", []step{drop(t, "c", "CNAME", ""), add("c 60 A 192.0.2.1")},
			[]string{"a 60 A 192.0.2.1", "a 60 TXT one", "a 60 TXT two", "c 60 A 192.0.2.1"}, 1},
		{"beside a CNAME", []step{add("b 60 A 192.0.2.1"), add("c 60 A 192.0.2.1")}, nil, 2},
		{"another TTL", []step{add("a 300 TXT one")},
			[]string{"a 300 TXT one", "a 60 A 192.0.2.1", "a 60 TXT two", "c 60 CNAME a.example.org."}, 1},
		{"a record whatever its TTL", []step{drop(t, "a", "TXT", "one")},
			[]string{"a 60 A 192.0.2.1", "a 60 TXT two", "c 60 CNAME a.example.org."}, 0},
		{"all of a name", []step{drop(t, "a", "", ""), add("a 5 AAAA 2001:db8::1")},
			[]string{"a 5 AAAA 2001:db8::1", "c 60 CNAME a.example.org."}, 1},
		{"what a server makes", []step{drop(t, "ns1", "A", "")}, nil, 0},
		{"back and forth", []step{drop(t, "a", "", ""), add("a 60 TXT one"), drop(t, "a", "TXT", "one"), add("a 60 A 192.0.2.1"), add("a 60 TXT two"), add("a 60 TXT one")},
			before, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			z, change := newZone(t, before...), updateOf(t, 1, test.steps...)
			if left := len(change.Left()); left != test.left {
				t.Errorf("%d records are left, want %d", left, test.left)
			}
			e, err := record.Plan(z, change)
			if test.want == nil {
				if err == nil {
					t.Errorf("it is accepted: %v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, z.after(e).stored()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestUpdateOwn: a client's own records are those with its number.
func TestUpdateOwn(t *testing.T) {
	z := newZone(t, "a 60 TXT one", "a 60 TXT two", "a 60 A 192.0.2.1")
	for i := range z.records {
		z.records[i].Client = uint32(1 + i%2) // two is of another one than its neighbours
	}
	whose := func(data string) uint32 {
		i := slices.IndexFunc(z.records, func(r record.Record) bool { _, text := r.Text(); return text == data })
		return z.records[i].Client
	}
	own := drop(t, "a", "TXT", "").own()
	for _, many := range []int{1, 9} { // a matcher of many works otherwise
		for client, want := range map[uint32][]string{
			whose("one"): {"a 60 A 192.0.2.1", "a 60 TXT two"},
			whose("two"): {"a 60 A 192.0.2.1", "a 60 TXT one"},
			3:            {"a 60 A 192.0.2.1", "a 60 TXT one", "a 60 TXT two"},
			0:            {"a 60 A 192.0.2.1", "a 60 TXT one", "a 60 TXT two"},
		} {
			e, err := record.Plan(z, updateOf(t, client, slices.Repeat([]step{own}, many)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, z.after(e).stored()); diff != "" {
				t.Errorf("client %d, %d times: -want +got:\n%s", client, many, diff)
			}
		}
	}
}

func TestPrerequisites(t *testing.T) {
	wire := func(typ, data string) []string {
		return []string{lines(t, "a 60 "+typ+" "+data)[0].Data}
	}
	z := newZone(t, "a 60 TXT one", "b.c 60 A 192.0.2.1", "b.c 60 A 192.0.2.2")
	q := func(owner string, typ record.Type, exists bool, data ...string) record.Prerequisite {
		n := name(t, "example.org")
		if owner != "" {
			n = name(t, owner+".example.org")
		}
		return record.Prerequisite{Name: n, Type: typ, Exists: exists, Data: data}
	}
	for _, test := range []struct {
		record.Prerequisite
		want bool
	}{
		{q("a", 0, true), true}, {q("a", 0, false), false},
		{q("x", 0, true), false}, {q("x", 0, false), true},
		{q("c", 0, true), false}, // there is something below it only
		{q("a", record.TypeTXT, true), true}, {q("a", record.TypeTXT, false), false},
		{q("a", record.TypeA, true), false}, {q("a", record.TypeA, false), true},
		{q("", record.TypeSOA, true), true}, {q("", record.TypeNS, true), true},
		{q("a", record.TypeTXT, true, wire("TXT", "one")...), true},
		{q("a", record.TypeTXT, true, wire("TXT", "two")...), false},
		{q("a", record.TypeTXT, true, append(wire("TXT", "one"), wire("TXT", "one")...)...), true},
		{q("b.c", record.TypeA, true, wire("A", "192.0.2.1")...), false},
		{q("b.c", record.TypeA, true, append(wire("A", "192.0.2.2"), wire("A", "192.0.2.1")...)...), true},
		{q("x", record.TypeA, true, wire("A", "192.0.2.2")...), false},
	} {
		change := updateOf(t, 1, add("new 60 A 192.0.2.1"))
		change.Prerequisites = []record.Prerequisite{q("a", 0, true), test.Prerequisite}
		_, err := record.Plan(z, change)
		var not *record.PrerequisiteError
		if met := err == nil; met != test.want || !met && !errors.As(err, &not) {
			t.Errorf("%v: %v, want %t", test.Prerequisite, err, test.want)
		}
	}
}

// TestUpdateIsItsSteps compares random updates with their steps, each made as a change of its own.
func TestUpdateIsItsSteps(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 2))
		pick := func(from ...string) string { return from[random.IntN(len(from))] }
		z := newZone(t)
		for range random.IntN(6) {
			r := lines(t, fmt.Sprintf("%s 60 %s", pick("a", "b"), pick("TXT x", "TXT y", "A 192.0.2.1", "A 192.0.2.2")))[0]
			r.Client = uint32(1 + random.IntN(2))
			if !slices.ContainsFunc(z.records, r.Same) {
				z.records = append(z.records, r)
			}
		}
		var steps []step
		for range random.IntN(30) {
			if random.IntN(2) == 0 {
				steps = append(steps, add(fmt.Sprintf("%s 60 %s", pick("a", "b"), pick("TXT x", "TXT y", "A 192.0.2.1", "A 192.0.2.2"))))
				continue
			}
			s := drop(t, pick("a", "b"), pick("TXT", "A", ""), "")
			if random.IntN(3) == 0 {
				s = drop(t, pick("a", "b"), "TXT", pick("x", "y"))
			}
			if random.IntN(3) == 0 {
				s = s.own()
			}
			steps = append(steps, s)
		}
		e, err := record.Plan(z, updateOf(t, 1, steps...))
		if err != nil {
			t.Fatal(err)
		}
		together, single := z.after(e), z
		for _, s := range steps {
			one, err := record.Plan(single, updateOf(t, 1, s))
			if err != nil {
				t.Fatal(err)
			}
			single = single.after(one)
		}
		if diff := cmp.Diff(single.stored(), together.stored()); diff != "" {
			t.Fatalf("seed %d: %v: -single +together:\n%s", seed, steps, diff)
		}
	}
}

// TestUpdateBackAndForth: what an update may look at is bounded, however often it looks.
func TestUpdateBackAndForth(t *testing.T) {
	z := newZone(t)
	for i := range 500 {
		z.records = append(z.records, lines(t, fmt.Sprintf("a 60 TXT %d", i))...)
	}
	var steps []step
	for range 200 {
		steps = append(steps, drop(t, "a", "TXT", "none"), add("a 60 TXT more"))
	}
	change := updateOf(t, 1, steps...)
	change.Limits.Touched = 1 << 20
	var over *record.LimitError
	if _, err := record.Plan(z, change); !errors.As(err, &over) || over.Limit != record.LimitTouched {
		t.Errorf("200 looks at 500 records: %v", err)
	}
}
