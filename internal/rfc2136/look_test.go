package rfc2136

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

const soaLine = zoneName + " 60 IN SOA ns.zone.test. hostmaster.zone.test. 1 3600 600 86400 0"

func sorted(records []record.Record) (lines []string) {
	for _, r := range records {
		lines = append(lines, r.String())
	}
	slices.Sort(lines)
	return lines
}

func assertRecords(t *testing.T, records []record.Record, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := sorted(records); !slices.Equal(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
}

// A value that is not served after an append was lost to another writer, and is appended once
// more. What is missing then is not an error, and neither is what is missing after a set.
func TestLostValues(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		lost := 0
		f.ignores = func(rr dns.RR) bool {
			lost++
			return strings.HasPrefix(rr.Header().Name, "never") || lost == 2
		}
		z := f.zone(t, Config{})
		assertRecords(t, change(t, z, "a", appending(text("a", "x"), text("b", "x"))), `a.zone.test. 60 IN TXT "x"`, `b.zone.test. 60 IN TXT "x"`)
		if !f.has("a") || !f.has("b") {
			t.Error("a value is lost")
		}
		assertSent(t, f, "a b", "b")
		change(t, z, "a", appending(text("never", "x")))
		change(t, z, "a", setting(text("never", "x")))
		assertSent(t, f, "a b", "b", "never", "never", "-never never")
	})
}

// What a server answers NOERROR to and does not serve is taken back.
func TestConflicts(t *testing.T) {
	alias := func(q dns.Question, _ bool, answer *dns.Msg) {
		if strings.HasPrefix(q.Name, "alias.") {
			rr, _ := dns.NewRR(q.Name + " 60 IN CNAME target.test.")
			answer.Rcode, answer.Answer = dns.RcodeSuccess, []dns.RR{rr}
		}
	}
	cut := func(q dns.Question, _ bool, answer *dns.Msg) {
		if strings.HasPrefix(q.Name, "below.") {
			rr, _ := dns.NewRR("sub.zone.test. 60 IN NS ns.elsewhere.test.")
			answer.Rcode, answer.Answer, answer.Ns, answer.Authoritative = dns.RcodeSuccess, nil, []dns.RR{rr}, false
		}
	}
	other := func(q dns.Question, _ bool, answer *dns.Msg) {
		if strings.HasPrefix(q.Name, "below.") {
			rr, _ := dns.NewRR("sub.zone.test. 60 IN SOA ns.sub.zone.test. h.sub.zone.test. 1 2 3 4 5")
			answer.Rcode, answer.Answer, answer.Ns = dns.RcodeNameError, nil, []dns.RR{rr}
		}
	}
	below := text("below.sub", "x")
	for _, test := range []struct {
		name      string
		answers   func(dns.Question, bool, *dns.Msg)
		change    record.Change
		unchanged bool
		says      string
		sent      []string
		left      []string
	}{
		{"beside a CNAME", alias, appending(text("alias", "x")), true, "a CNAME", []string{"alias", "-alias"}, nil},
		{"set beside a CNAME", alias, setting(text("alias", "x")), true, "a CNAME", []string{"-alias alias", "-alias"}, nil},
		{"below a delegation", cut, appending(below), true, `"sub.zone.test"`, []string{"below", "-below"}, nil},
		{"set below a delegation", cut, setting(below), false, "delegated", []string{"-below below", "-below"}, nil},
		{"in another zone of the server", other, appending(below), true, "delegated", []string{"below", "-below"}, nil},
		{"with others", alias, appending(text("new", "x"), text("was", "there"), text("alias", "x")), true, "a CNAME", []string{"new was alias", "-new -alias"}, []string{"was"}},
		{"set with others", alias, setting(text("was", "new"), text("alias", "x")), false, "a CNAME", []string{"-was -alias was alias", "-alias"}, []string{"was"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := (&fake{answers: test.answers}).lines(`was.zone.test. 60 IN TXT "there"`)
				z := f.zone(t, Config{})
				_, err := z.Change(t.Context(), "a", test.change, nil)
				assertError(t, err, Conflict, test.unchanged, test.says)
				assertSent(t, f, test.sent...)
				for _, name := range []string{"new", "alias", "below.sub"} {
					if f.has(name) {
						t.Errorf("%s is there", name)
					}
				}
				for _, name := range test.left {
					if !f.has(name) {
						t.Errorf("%s is not there", name)
					}
				}
			})
		})
	}
	t.Run("refused for it", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			f := &fake{answers: alias, refuses: func([]dns.RR) int { return dns.RcodeRefused }}
			z := f.zone(t, Config{})
			_, err := z.Change(t.Context(), "a", appending(text("alias", "x")), nil)
			assertError(t, err, Conflict, true, "a CNAME")
			_, err = z.Change(t.Context(), "a", appending(text("a", "x")), nil)
			assertError(t, err, Refused, true, "without a key")
		})
	})
	t.Run("not undone", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			f := &fake{answers: alias}
			f.refuses = func(updates []dns.RR) int {
				if updates[0].Header().Class == dns.ClassNONE {
					return dns.RcodeServerFailure
				}
				return dns.RcodeSuccess
			}
			z := f.zone(t, Config{})
			_, err := z.Change(t.Context(), "a", appending(text("alias", "x")), nil)
			assertError(t, err, Conflict, false, "a CNAME")
		})
	})
}

func TestReadLook(t *testing.T) {
	const (
		child  = "sub.zone.test. 60 IN NS ns.sub.zone.test."
		glue   = "ns.sub.zone.test. 60 IN A 192.0.2.1"
		apexNS = "zone.test. 60 IN NS ns.zone.test."
		negSOA = soaLine
	)
	for _, test := range []struct {
		name, qname, qtype            string
		rcode                         int
		answer, authority, additional []string
		want                          look
		records                       []string
	}{
		{"an RRset", "a", "TXT", 0, []string{`A.zone.test. 5 IN TXT "x"`, `a.zone.test. 5 IN TXT "y"`}, []string{apexNS}, nil,
			look{answered: true, exists: true}, []string{`a.zone.test. 5 IN TXT "x"`, `a.zone.test. 5 IN TXT "y"`}},
		{"no such name", "a", "TXT", dns.RcodeNameError, nil, []string{negSOA}, nil, look{answered: true}, nil},
		{"no such type", "a", "TXT", 0, nil, []string{negSOA}, nil, look{answered: true, exists: true}, nil},
		{"an alias", "a", "TXT", 0, []string{"a.zone.test. 5 IN CNAME b.zone.test.", `b.zone.test. 5 IN TXT "x"`}, nil, nil, look{answered: true, exists: true, alias: true}, nil},
		{"the alias", "a", "CNAME", 0, []string{"a.zone.test. 5 IN CNAME b.zone.test."}, nil, nil, look{answered: true, exists: true}, []string{"a.zone.test. 5 IN CNAME b.zone.test."}},
		{"failure", "a", "TXT", dns.RcodeServerFailure, nil, nil, nil, look{}, nil},
		{"refused", "a", "TXT", dns.RcodeRefused, []string{`a.zone.test. 5 IN TXT "x"`}, nil, nil, look{}, nil},
		{"a referral", "a.sub", "TXT", 0, nil, []string{child}, []string{glue}, look{answered: true, exists: true, cut: mustName("sub.zone.test")}, nil},
		{"the delegation", "sub", "NS", 0, nil, []string{child}, []string{glue}, look{answered: true, exists: true}, []string{child}},
		{"beside the delegation", "sub", "TXT", 0, nil, []string{child}, []string{glue}, look{answered: true, exists: true, cut: mustName("sub.zone.test")}, nil},
		{"glue", "ns.sub", "A", 0, nil, []string{child}, []string{glue}, look{answered: true, exists: true}, []string{glue}},
		{"glue that is not shown", "ns.sub", "A", 0, nil, []string{child}, nil, look{exists: true}, nil},
		{"no glue", "ns.sub", "TXT", 0, nil, []string{child}, []string{glue}, look{answered: true, exists: true, cut: mustName("sub.zone.test")}, nil},
		{"the zone above", "a", "TXT", 0, nil, []string{"test. 60 IN NS ns.test."}, nil, look{answered: true, exists: true}, nil},
		{"beside", "a", "TXT", 0, nil, []string{"b.zone.test. 60 IN NS ns.test."}, nil, look{answered: true, exists: true}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := question{matching(test.qname, test.qtype, "").Name, matching(test.qname, test.qtype, "").Type}
			m := &dns.Msg{Answer: rrs(t, test.answer), Ns: rrs(t, test.authority), Extra: rrs(t, test.additional)}
			m.Rcode = test.rcode
			got := readLook(testZone, q, m)
			assertRecords(t, got.records, test.records...)
			if got.answered != test.want.answered || got.alias != test.want.alias || got.cut != test.want.cut || got.exists != test.want.exists {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		m := &dns.Msg{Answer: rrs(t, []string{`a.zone.test. 5 IN TXT "x"`})}
		m.Truncated = true
		if got := readLook(testZone, question{mustName("a.zone.test"), record.TypeTXT}, m); got.answered || len(got.records) > 0 {
			t.Errorf("%+v, want that the server has not told", got)
		}
	})
}

func rrs(t testing.TB, lines []string) (list []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return list
}

// A delete takes what its matches do, and says what it has deleted.
func TestDeletes(t *testing.T) {
	records := []string{
		soaLine, zoneName + " 60 IN NS ns.a.test.", zoneName + " 60 IN NS ns.b.test.", zoneName + ` 60 IN TXT "apex"`,
		`a.zone.test. 60 IN TXT "x"`, `a.zone.test. 60 IN TXT "y" "z"`, "a.zone.test. 60 IN A 192.0.2.1", "a.zone.test. 30 IN AAAA 2001:db8::1",
		"a.zone.test. 60 IN RRSIG A 13 3 60 20300101000000 20200101000000 1 zone.test. AAAA", "a.zone.test. 60 IN CDS 1 13 2 AAAA",
	}
	ttl := func(m record.Match, ttl uint32) record.Match { m.TTL = &ttl; return m }
	const x, yz, a = `a.zone.test. 60 IN TXT "x"`, `a.zone.test. 60 IN TXT "yz"`, "a.zone.test. 60 IN A 192.0.2.1"
	for _, test := range []struct {
		name    string
		matches []record.Match
		want    []string
		rule    record.Rule
		sent    []string
	}{
		{"a record", []record.Match{matching("a", "TXT", "x")}, []string{x}, "", []string{"-a"}},
		{"a record with another TTL", []record.Match{ttl(matching("a", "TXT", "x"), 5)}, []string{x}, "", []string{"-a"}},
		{"in other strings", []record.Match{matching("a", "TXT", "yz")}, []string{yz}, "", []string{"-a -a"}},
		{"what is not there", []record.Match{matching("a", "TXT", "w")}, nil, "", []string{"-a"}},
		{"an RRset", []record.Match{matching("a", "TXT", "")}, []string{x, yz}, "", []string{"-a -a"}},
		{"an RRset that is not there", []record.Match{matching("b", "TXT", "")}, nil, "", nil},
		{"by TTL", []record.Match{ttl(matching("a", "TXT", ""), 60)}, []string{x, yz}, "", []string{"-a -a"}},
		{"by another TTL", []record.Match{ttl(matching("a", "TXT", ""), 30)}, nil, "", nil},
		{"twice", []record.Match{matching("a", "A", ""), matching("a", "TXT", "x"), matching("a", "TXT", "x")}, []string{a, x}, "", []string{"-a -a"}},
		{"a name", []record.Match{matching("a", "", "")}, []string{x, yz, a, "a.zone.test. 30 IN AAAA 2001:db8::1"}, "", []string{"-a -a -a -a"}},
		{"a name by TTL", []record.Match{ttl(matching("a", "", ""), 30)}, []string{"a.zone.test. 30 IN AAAA 2001:db8::1"}, "", []string{"-a"}},
		{"a name by data", []record.Match{matching("a", "", "192.0.2.1")}, []string{a}, "", []string{"-a"}},
		{"a name and a record", []record.Match{matching("a", "TXT", "w"), matching("b", "", "")}, nil, "", []string{"-a"}},
		{"the apex", []record.Match{matching("@", "", "")}, []string{`zone.test. 60 IN TXT "apex"`}, "", []string{"-zone"}},
		{"a server", []record.Match{matching("@", "NS", "ns.a.test.")}, []string{"zone.test. 60 IN NS ns.a.test."}, "", []string{"-zone"}},
		{"a server that is not there", []record.Match{matching("@", "NS", "ns.c.test.")}, nil, "", nil},
		{"a server, with all else", []record.Match{matching("@", "NS", "ns.a.test."), matching("@", "", "")},
			[]string{"zone.test. 60 IN NS ns.a.test.", `zone.test. 60 IN TXT "apex"`}, "", []string{"-zone -zone"}},
		{"all servers", []record.Match{matching("@", "NS", "")}, nil, record.RuleApexNS, nil},
		{"all servers, with all else", []record.Match{matching("@", "NS", ""), matching("@", "", "")}, nil, record.RuleApexNS, nil},
		{"SOA", []record.Match{matching("@", "SOA", "")}, nil, record.RuleSOA, nil},
		{"nothing", nil, nil, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := (&fake{key: testKey}).lines(records...)
				z := f.zone(t, Config{})
				deleted, err := z.Change(t.Context(), "a", deleting(test.matches...), nil)
				var rule *record.RuleError
				if errors.As(err, &rule) != (test.rule != "") || rule != nil && rule.Rule != test.rule || rule == nil && err != nil {
					t.Errorf("%v, want rule %q", err, test.rule)
				}
				assertRecords(t, deleted, test.want...)
				assertSent(t, f, test.sent...)
			})
		})
	}
	t.Run("changes nothing else", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			f := (&fake{key: testKey}).lines(records...)
			z := f.zone(t, Config{})
			change(t, z, "a", deleting(matching("a", "", "")))
			left := []string{`zone.test. 60 IN TXT "apex"`, "zone.test. 60 IN NS ns.a.test.", "zone.test. 60 IN NS ns.b.test."}
			all, err := z.Records(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(r record.Record) bool {
				return r.Type == record.TypeSOA || isSignature(r.Type) || isSigningKey(r.Type)
			})
			assertRecords(t, all, left...)
		})
	})
}

// The last service records of a name are deleted as an RRset: PowerDNS ignores it by data.
func TestDeletesOfServices(t *testing.T) {
	const h2, h3, svcb = `s.zone.test. 60 IN HTTPS 1 svc.test. alpn="h2"`, `s.zone.test. 60 IN HTTPS 2 svc.test. alpn="h3"`, "s.zone.test. 60 IN SVCB 1 svc.test."
	for _, test := range []struct {
		name    string
		matches []record.Match
		want    []string
		classes []uint16 // of what is sent
	}{
		{"one of two", []record.Match{matching("s", "HTTPS", `1 svc.test. alpn="h2"`)}, []string{h2}, []uint16{dns.ClassNONE}},
		{"both", []record.Match{matching("s", "HTTPS", "")}, []string{h2, h3}, []uint16{dns.ClassANY}},
		{"the only one", []record.Match{matching("s", "SVCB", "1 svc.test.")}, []string{svcb}, []uint16{dns.ClassANY}},
		{"one that is not there", []record.Match{matching("s", "SVCB", "2 svc.test.")}, nil, []uint16{dns.ClassNONE}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := (&fake{key: testKey}).lines(soaLine, zoneName+" 60 IN NS ns.a.test.", h2, h3, svcb)
				deleted, err := f.zone(t, Config{}).Change(t.Context(), "a", deleting(test.matches...), nil)
				if err != nil {
					t.Fatal(err)
				}
				assertRecords(t, deleted, test.want...)
				var classes []uint16
				for _, update := range f.updates {
					for _, rr := range update {
						classes = append(classes, rr.Header().Class)
					}
				}
				if !slices.Equal(classes, test.classes) {
					t.Errorf("classes %v, want %v", classes, test.classes)
				}
			})
		})
	}
}

// A set at the apex adds servers before it deletes others, for the last one cannot be deleted.
func TestSetServers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := (&fake{}).lines(soaLine, zoneName+" 60 IN NS ns.a.test.", zoneName+" 60 IN NS ns.b.test.")
		z := f.zone(t, Config{})
		b, err := record.New(testZone, "@", "NS", 60, "ns.b.test.")
		if err != nil {
			t.Fatal(err)
		}
		c, err := record.New(testZone, "@", "NS", 60, "ns.c.test.")
		if err != nil {
			t.Fatal(err)
		}
		change(t, z, "a", setting(b, c, text("@", "apex")))
		assertSent(t, f, "-zone zone zone zone -zone")
		f.set(func() {
			f.answers = func(_ dns.Question, _ bool, answer *dns.Msg) { answer.Rcode = dns.RcodeRefused }
		})
		_, err = z.Change(t.Context(), "a", setting(b), nil)
		assertError(t, err, Failed, true, "NS records")
	})
}

// An answer that cannot be read does not end the changes that are asked for together with it.
func TestUnreadableAnswerAmongOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := (&fake{takes: 10 * time.Millisecond}).lines(soaLine, `a.zone.test. 60 IN TXT "x"`, `broken.zone.test. 60 IN TXT "x"`)
		f.spoil = func(answer *dns.Msg, wire []byte) []byte {
			if answer.Opcode == dns.OpcodeQuery && strings.HasPrefix(answer.Question[0].Name, "broken.") {
				wire[len(wire)-2]++ // the string is longer than the data
			}
			return wire
		}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		send := func(client string, c record.Change) {
			all.Go(func() { change(t, z, client, c) })
			synctest.Wait()
		}
		send("first", appending(text("first", "x")))
		send("one", deleting(matching("a", "TXT", "")))
		send("two", deleting(matching("broken", "TXT", ""))) // for which the zone is read
		send("three", appending(text("b", "x"), text("c", "x")))
		all.Wait()
		assertSent(t, f, "first", "-a b c", "-broken")
		if f.has("a") || !f.has("c") || f.has("broken") {
			t.Error("not all changes were made")
		}
	})
}

// A server that answers no questions is sent whole records all the same; for all else the
// zone is read.
func TestDeletesWithoutAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := (&fake{}).lines(soaLine, `a.zone.test. 60 IN TXT "x"`, `a.zone.test. 60 IN TXT "y"`, `a.zone.test. 60 IN TXT "z"`)
		f.answers = func(_ dns.Question, _ bool, answer *dns.Msg) { answer.Rcode, answer.Answer = dns.RcodeRefused, nil }
		z := f.zone(t, Config{})
		begun := 0
		deleted, err := z.Change(t.Context(), "a", deleting(matching("a", "TXT", "x")), func() { begun++ })
		if err != nil || begun != 1 {
			t.Errorf("%v, begun %d times", err, begun)
		}
		assertRecords(t, deleted, `a.zone.test. 0 IN TXT "x"`)
		deleted, err = z.Change(t.Context(), "a", deleting(matching("a", "TXT", "")), func() { begun++ })
		if err != nil || begun != 2 {
			t.Errorf("%v, begun %d times", err, begun)
		}
		assertRecords(t, deleted, `a.zone.test. 60 IN TXT "y"`, `a.zone.test. 60 IN TXT "z"`)
	})
}

// What is served after a delete as it was before was an answer out of a wildcard.
func TestDeletesAtWildcards(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		f.answers = func(q dns.Question, _ bool, answer *dns.Msg) {
			if len(answer.Answer) == 0 {
				answer.Answer = rrs(t, []string{q.Name + ` 60 IN TXT "any"`})
				answer.Rcode = dns.RcodeSuccess
			}
		}
		z := f.zone(t, Config{})
		assertRecords(t, change(t, z, "a", deleting(matching("a", "TXT", ""))))
		f.lines(`a.zone.test. 60 IN TXT "own"`)
		assertRecords(t, change(t, z, "a", deleting(matching("a", "TXT", ""))), `a.zone.test. 60 IN TXT "own"`)
	})
}

// Questions are signed where that makes a difference: in a view that the key chooses, or
// where no one else may ask.
func TestSignedQuestions(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers func(q dns.Question, signed bool, answer *dns.Msg)
		want    bool
	}{
		{"the same", nil, false},
		{"another view", func(q dns.Question, signed bool, answer *dns.Msg) {
			if !signed && q.Qtype == dns.TypeSOA {
				answer.Answer[0] = dns.Copy(answer.Answer[0])
				answer.Answer[0].(*dns.SOA).Serial++
			}
		}, true},
		{"allowed with the key", func(q dns.Question, signed bool, answer *dns.Msg) {
			if !signed {
				answer.Rcode, answer.Answer = dns.RcodeRefused, nil
			}
		}, true},
		{"not allowed with the key", func(q dns.Question, signed bool, answer *dns.Msg) {
			if signed {
				answer.Rcode, answer.Answer = dns.RcodeNotAuth, nil
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := (&fake{key: testKey}).lines(soaLine)
				var signed []bool
				f.answers = func(q dns.Question, s bool, answer *dns.Msg) {
					if test.answers != nil {
						test.answers(q, s, answer)
					}
					if q.Qtype == dns.TypeTXT {
						signed = append(signed, s)
					}
				}
				z := f.zone(t, Config{})
				change(t, z, "a", appending(text("a", "x")))
				change(t, z, "a", appending(text("a", "y")))
				assertSent(t, f, "a", "a")
				if !slices.Equal(signed, []bool{test.want, test.want}) {
					t.Errorf("signed %v", signed)
				}
				soas := 0
				for _, q := range f.asked {
					if q.Qtype == dns.TypeSOA {
						soas++
					}
				}
				if soas != 2 {
					t.Errorf("%d SOA questions", soas)
				}
				time.Sleep(signingTime)
				synctest.Wait()
			})
		})
	}
}

// SOA records are not written.
func TestSOARule(t *testing.T) {
	z := New(Config{Zone: testZone})
	soa := record.Record{Name: testZone, Type: record.TypeSOA}
	for _, c := range []record.Change{appending(soa), setting(soa), deleting(record.Match{Name: testZone, Type: record.TypeSOA})} {
		_, err := z.Change(t.Context(), "a", c, nil)
		if rule := (*record.RuleError)(nil); !errors.As(err, &rule) || rule.Rule != record.RuleSOA {
			t.Errorf("%s: %v", c.Op, err)
		}
	}
}
