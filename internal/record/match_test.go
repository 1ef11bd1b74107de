package record_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/internal/record"
)

// TestMatcher compares a matcher with what it is to be: the first of the matches, one
// after the other, that takes a record.
func TestMatcher(t *testing.T) {
	t.Parallel()
	datas := []string{"192.0.2.1", "192.0.2.2", "10 a.example.org.", "a.example.org.", "x", "0 issue \"x\""}
	types := []string{"*", "A", "TXT", "MX", "CAA", "NS"}
	for seed := range uint64(150) {
		g := rand.New(rand.NewPCG(seed, 1))
		pick := func(of []string) string { return of[g.IntN(len(of))] }
		var all []record.Match
		for range g.IntN(14) {
			text := fmt.Sprintf("%s %s %s ", pick([]string{"a", "b"}), pick([]string{"*", "60", "61"}), pick(types))
			if data := pick(append(datas, "*")); data == "*" || validIn(strings.Fields(text)[2], data) {
				all = append(all, matches(t, text+data)...)
			}
		}
		matcher := record.NewMatcher(all)
		for _, owner := range []string{"a", "b", "c"} {
			for _, ttl := range []string{"60", "61", "62"} {
				for _, typ := range types[1:] {
					for _, data := range datas {
						if !validIn(typ, data) {
							continue
						}
						r := lines(t, fmt.Sprintf("%s %s %s %s", owner, ttl, typ, data))[0]
						want := slices.IndexFunc(all, func(m record.Match) bool { return m.Matches(r) })
						if got := matcher.First(r); got != want {
							t.Fatalf("seed %d: %v is taken by match %d, want %d", seed, r, got, want)
						}
					}
				}
			}
		}
	}
}

// validIn reports whether data can be that of a type; "*" takes any.
func validIn(typ, data string) bool {
	if typ == "*" {
		return true
	}
	t, err := record.ParseType(typ)
	if err == nil {
		_, err = record.ParseData(t, data)
	}
	return err == nil
}

// TestUnresolved: where all changes wait for each other, data without a type is parsed
// a few times at most. Once it has been, beforehand, it is parsed no more.
func TestUnresolved(t *testing.T) {
	z := newZone(t, "a 60 TXT x", "a 60 MX 10 a.example.org.", "a 60 A 192.0.2.1")
	var all []record.Match
	for i := range 200 {
		all = append(all, matches(t, fmt.Sprintf("a * * 192.0.2.%d", i))...)
	}
	change := record.Change{Op: record.Delete, Matches: all}
	if _, err := record.Plan(z, change); !errors.Is(err, record.ErrUnresolved) {
		t.Fatalf("the error is %v", err)
	}
	types := func(n record.Name) (types []record.Type) {
		for _, r := range z.At(n) {
			types = append(types, r.Type)
		}
		return types
	}
	e, err := record.Plan(z, change.Resolve(types))
	if err != nil {
		t.Fatal(err)
	}
	if got := asLines(e.Answer); !slices.Equal(got, []string{"a 60 A 192.0.2.1"}) {
		t.Errorf("taken: %q", got)
	}
	if all[0].Data == change.Resolve(types).Matches[0].Data {
		t.Error("resolving has changed the matches that it was given")
	}
}

// TestLimits: what is over a limit is refused where it has become more, and nothing
// else is.
func TestLimits(t *testing.T) {
	tests := []struct {
		name   string
		limits record.Limits
		op     record.Op
		change []string
		want   record.Limit
	}{
		{"a third type of two", record.Limits{Types: 2}, record.Append, []string{"a 60 AAAA ::1"}, record.LimitTypes},
		{"a third type of three", record.Limits{Types: 3}, record.Append, []string{"a 60 AAAA ::1"}, ""},
		{"over the limit, no more of it", record.Limits{Types: 1}, record.Append, []string{"a 60 A 192.0.2.3"}, ""},
		{"over the limit, fewer", record.Limits{Records: 1}, record.Set, []string{"a 60 A 192.0.2.1", "a 60 A 192.0.2.9"}, ""},
		{"a third record of two", record.Limits{Records: 2}, record.Append, []string{"a 60 A 192.0.2.3"}, record.LimitRecords},
		{"a second record of one type, the other is full", record.Limits{Records: 2}, record.Append, []string{"a 60 TXT y"}, ""},
		{"bytes", record.Limits{Bytes: 3*12 + 4 + 4 + 2 + 12 + 3}, record.Append, []string{"a 60 A 192.0.2.3"}, record.LimitBytes},
		{"bytes that fit", record.Limits{Bytes: 3*12 + 4 + 4 + 2 + 12 + 4}, record.Append, []string{"a 60 A 192.0.2.3"}, ""},
		{"another name", record.Limits{Types: 2, Records: 2, Bytes: 100}, record.Append, []string{"b 60 A 192.0.2.3"}, ""},
		{"what is there already", record.Limits{Types: 1, Records: 1, Bytes: 1}, record.Append, []string{"a 60 A 192.0.2.1"}, ""},
		{"too much touched", record.Limits{Touched: 3*record.TouchedRecord + 4 + 4 + 1}, record.Append, []string{"a 60 A 192.0.2.1"}, record.LimitTouched},
		{"as much touched as may be", record.Limits{Touched: 3*record.TouchedRecord + 4 + 4 + 2}, record.Append, []string{"a 60 A 192.0.2.1"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			z := newZone(t, "a 60 A 192.0.2.1", "a 60 A 192.0.2.2", "a 60 TXT x")
			_, err := record.Plan(z, record.Change{Op: test.op, Records: lines(t, test.change...), Limits: test.limits})
			var over *record.LimitError
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && !errors.As(err, &over):
				t.Errorf("the error is %v", err)
			case test.want != "" && over.Limit != test.want:
				t.Errorf("the limit is %q, want %q", over.Limit, test.want)
			}
		})
	}
}

// BenchmarkPlanAtFullName is about changes of a thousand records at a name that holds
// as much as an answer can carry.
func BenchmarkPlanAtFullName(b *testing.B) {
	var full, more []string
	var exact, loose, untyped []record.Match
	for i := range 4000 {
		full = append(full, fmt.Sprintf("a 60 A 10.0.%d.%d", i>>8, i&255))
	}
	for i := range 1000 {
		more = append(more, fmt.Sprintf("a 60 A 10.1.%d.%d", i>>8, i&255))
		exact = append(exact, matches(b, fmt.Sprintf("a 60 A 10.1.%d.%d", i>>8, i&255))...)
		loose = append(loose, matches(b, fmt.Sprintf("a %d A *", i+61))...)
		untyped = append(untyped, matches(b, fmt.Sprintf("a * * 10.1.%d.%d", i>>8, i&255))...)
	}
	z := &zone{name(b, "example.org"), lines(b, full...)}
	resolved := record.Change{Op: record.Delete, Matches: untyped}.Resolve(func(record.Name) []record.Type { return []record.Type{record.TypeA} })
	for title, change := range map[string]record.Change{
		"append":                  {Op: record.Append, Records: lines(b, more[:90]...)},
		"set":                     {Op: record.Set, Records: lines(b, more...)},
		"delete what is missing":  {Op: record.Delete, Matches: exact},
		"delete by TTL":           {Op: record.Delete, Matches: loose},
		"delete without a type":   resolved,
		"append what is there":    {Op: record.Append, Records: lines(b, full[3000:]...)},
		"one record at this name": {Op: record.Append, Records: lines(b, more[0])},
	} {
		b.Run(title, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.Plan(z, change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
