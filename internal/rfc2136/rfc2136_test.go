package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// change makes a change of a client that is to succeed.
func change(t *testing.T, z *Zone, client string, c record.Change) []record.Record {
	t.Helper()
	records, err := z.Change(t.Context(), client, c, nil)
	if err != nil {
		t.Error(err)
	}
	return records
}

// assertError compares kind and [Error.Unchanged] of an error, and what it says.
func assertError(t *testing.T, err error, kind Kind, unchanged bool, says string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v, want an *Error", err)
	}
	if e.Kind != kind || e.Unchanged != unchanged || !strings.Contains(e.Error(), says) || e.Zone != testZone {
		t.Errorf("%#v: %v\nwant kind %d, unchanged %v, and %q in it", e, e, kind, unchanged, says)
	}
	return e
}

func assertSent(t *testing.T, f *fake, want ...string) {
	t.Helper()
	if got := f.sent(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// What waits is sent in one message, client by client, and those of one client in order.
func TestChangesShareAMessage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		send := func(client, name string) {
			all.Go(func() { change(t, z, client, appending(text(name, "x"))) })
			synctest.Wait()
		}
		send("a", "a0")
		for i := 1; i < 4; i++ {
			send("a", fmt.Sprint("a", i))
		}
		send("b", "b1")
		send("c", "c1")
		all.Wait()
		assertSent(t, f, "a0", "a1 b1 c1 a2 a3")
		if n := len(f.dialled); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A message has mostChanges, and so many bytes as fit.
func TestMessagesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		send := func(name, value string) {
			all.Go(func() { change(t, z, "a", appending(text(name, value))) })
			synctest.Wait()
		}
		send("first", "x")
		for i := range 200 {
			send(fmt.Sprint("n", i), "x")
		}
		for i := range 3 {
			send(fmt.Sprint("long", i), strings.Repeat("x", 40_000))
		}
		all.Wait()
		var sizes []int
		for _, m := range f.sent() {
			sizes = append(sizes, len(strings.Fields(m)))
		}
		if want := []int{1, 128, 73, 1, 1}; !slices.Equal(sizes, want) {
			t.Errorf("messages of %d changes, want %d", sizes, want)
		}
		// What does not fit has not begun.
		var begun []time.Duration
		began := time.Now()
		for i := range 3 {
			all.Go(func() {
				_, err := z.Change(t.Context(), fmt.Sprint(i), appending(text("long", strings.Repeat("x", 40_000))), func() { begun = append(begun, time.Since(began)) })
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if want := []time.Duration{0, f.takes, 2 * f.takes}; !slices.Equal(begun, want) {
			t.Errorf("begun after %v, want %v", begun, want)
		}
		_, err := z.Change(t.Context(), "a", appending(text("a", strings.Repeat("x", 40_000)), text("b", strings.Repeat("x", 40_000))), nil)
		assertError(t, err, TooLarge, true, "send it in parts")
	})
}

// So are the questions of a message, if they are of more than one change.
func TestQuestionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		all.Go(func() { change(t, z, "a", appending(text("first", "x"))) })
		synctest.Wait()
		for i := range 3 {
			all.Go(func() {
				var records []record.Record
				for n := range mostQuestions / 4 {
					records = append(records, text(fmt.Sprintf("n%d-%d", i, n), "x"))
				}
				change(t, z, fmt.Sprint(i), appending(records...))
			})
			synctest.Wait()
		}
		all.Wait()
		var sizes []int
		for _, m := range f.sent() {
			sizes = append(sizes, len(strings.Fields(m)))
		}
		if want := []int{1, mostQuestions / 2, mostQuestions / 4}; !slices.Equal(sizes, want) {
			t.Errorf("messages of %d records, want %d", sizes, want)
		}
	})
}

// An answer counts once.
func TestAnswersTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		var first []byte
		f.spoil = func(_ *dns.Msg, wire []byte) []byte {
			if first == nil {
				first = wire
			}
			return first
		}
		z := f.zone(t, Config{})
		_, err := z.Change(t.Context(), "a", deleting(matching("a", "TXT", "x"), matching("a", "A", "")), nil)
		assertError(t, err, Failed, true, "not an answer")
	})
}

// One client alone never waits, whatever was before; several that come together again do, for
// 2 ms at most.
func TestGathering(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		z := f.zone(t, Config{})
		began := time.Now()
		for range 10 {
			change(t, z, "a", appending(text("a", "x")))
		}
		if took := time.Since(began); took != 10*f.takes {
			t.Errorf("ten changes of one client took %v", took)
		}
		for round := range 3 {
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 500 * time.Microsecond)
					change(t, z, fmt.Sprint(i), appending(text(fmt.Sprintf("r%d%d", round, i), "x")))
				})
			}
			all.Wait()
		}
		if want := []string{"r00", "r01 r02", "r10 r11", "r12", "r20", "r21 r22"}; !slices.Equal(f.sent()[10:], want) {
			t.Errorf("sent %q, want %q", f.sent()[10:], want)
		}
		change(t, z, "a", appending(text("a", "x")))
		began = time.Now()
		change(t, z, "a", appending(text("a", "x")))
		if took := time.Since(began); took != f.takes {
			t.Errorf("the next one took %v", took)
		}
	})
}

// What is refused is found, and has an error of its own.
func TestRefusedAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{key: testKey, takes: 10 * time.Millisecond}
		f.refuses = func(updates []dns.RR) int {
			for _, rr := range updates {
				if strings.HasPrefix(rr.Header().Name, "bad") {
					return dns.RcodeRefused
				}
			}
			return dns.RcodeSuccess
		}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		send := func(client, name string) {
			all.Go(func() {
				_, err := z.Change(t.Context(), client, appending(text(name, "x")), nil)
				if !strings.HasPrefix(name, "bad") {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					return
				}
				if e := assertError(t, err, Refused, true, "action update"); e.Rcode != dns.RcodeRefused || e.Server != firstAddr {
					t.Errorf("%#v", e)
				}
			})
			synctest.Wait()
		}
		send("a", "a0")
		for i := range 5 {
			send(fmt.Sprint("client", i), fmt.Sprint("good", i))
		}
		send("hostile", "bad0")
		send("z", "good5")
		all.Wait()
		assertSent(t, f, "a0",
			"good0 good1 good2 good3 good4 bad0 good5", "good0 good1 good2", "good3 good4 bad0 good5", "good3 good4", "bad0 good5", "bad0", "good5")

		// Then it is alone, and costs the others nothing but time.
		n := len(f.sent())
		send("a", "a1")
		send("hostile", "bad1")
		send("b", "b1")
		send("hostile", "good6")
		send("c", "c1")
		all.Wait()
		if want := []string{"a1", "bad1", "b1 c1", "good6"}; !slices.Equal(f.sent()[n:], want) {
			t.Errorf("sent %q, want %q", f.sent()[n:], want)
		}
		// After a while it is as the others again.
		time.Sleep(suspicion)
		n = len(f.sent())
		send("a", "a2")
		send("hostile", "good7")
		send("b", "b2")
		all.Wait()
		if want := []string{"a2", "good7 b2"}; !slices.Equal(f.sent()[n:], want) {
			t.Errorf("sent %q, want %q", f.sent()[n:], want)
		}
	})
}

func TestSuspectsAreBounded(t *testing.T) {
	var s suspects
	now := time.Now()
	for i := range 3 * mostSuspects {
		s.add(fmt.Sprint(i), now.Add(time.Duration(i)))
	}
	if len(s) != mostSuspects || s.has("0", now) || !s.has(fmt.Sprint(3*mostSuspects-1), now) {
		t.Errorf("%d are remembered", len(s))
	}
	if s.has(fmt.Sprint(3*mostSuspects-1), now.Add(time.Hour)) || len(s) != mostSuspects-1 {
		t.Error("one is suspect for ever")
	}
}

// A key that is not accepted, or a server that is not a primary, fails all at once.
func TestRefusedTogether(t *testing.T) {
	for _, rcode := range []int{dns.RcodeNotAuth, dns.RcodeNotImplemented} {
		inBubble(t, func(t *testing.T) {
			f := &fake{key: testKey, takes: 10 * time.Millisecond}
			f.refuses = func([]dns.RR) int { return rcode }
			z := f.zone(t, Config{})
			var all sync.WaitGroup
			for i := range 9 {
				all.Go(func() {
					_, err := z.Change(t.Context(), fmt.Sprint(i), appending(text("a", "x")), nil)
					assertError(t, err, Refused, true, dns.RcodeToString[rcode])
				})
			}
			all.Wait()
			if n := len(f.sent()); n > 2 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// A refusal that is not rightly signed may be anyone's: what was sent with it may have been
// made, so that it is not sent again in parts.
func TestRefusedWithWrongSignature(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{key: testKey, takes: 10 * time.Millisecond}
		f.refuses = func([]dns.RR) int { return dns.RcodeRefused }
		f.spoil = func(answer *dns.Msg, _ []byte) []byte {
			answer.SetTsig(testKey.Name.String(), testKey.Algorithm, fudge, time.Now().Unix())
			packed, _, err := dns.TsigGenerate(answer, otherKey.Secret(), "", false)
			if err != nil {
				panic(err)
			}
			return packed
		}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				_, err := z.Change(t.Context(), fmt.Sprint(i), appending(text(fmt.Sprint("n", i), "x")), nil)
				assertError(t, err, Refused, false, "unknown")
			})
			synctest.Wait()
		}
		all.Wait()
		assertSent(t, f, "n0", "n1 n2 n3")
	})
}

// A connection that was closed while it was kept is opened again, once.
func TestClosedConnections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		z := f.zone(t, Config{})
		change(t, z, "a", appending(text("a", "x")))
		f.closeAll()
		change(t, z, "a", appending(text("b", "x")))
		f.set(func() { f.on = func(int) action { return closesConn } })
		if !f.has("b") {
			t.Error("b is not there")
		}
		n := len(f.sent())
		_, err := z.Change(t.Context(), "a", appending(text("c", "x")), nil)
		assertError(t, err, Failed, false, "closed the connection")
		if got := f.sent()[n:]; !slices.Equal(got, []string{"c", "c"}) {
			t.Errorf("sent %q", got)
		}
		// A new connection that is closed was not kept.
		n = len(f.sent())
		_, err = z.Change(t.Context(), "a", appending(text("d", "x")), nil)
		assertError(t, err, Failed, false, "unknown")
		if got := f.sent()[n:]; !slices.Equal(got, []string{"d"}) {
			t.Errorf("sent %q", got)
		}
	})
}

// An idle connection is closed before the server does, and nothing is left running.
func TestIdleConnections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		z := f.zone(t, Config{})
		for range 2 {
			change(t, z, "a", appending(text("a", "x")))
			time.Sleep(idleTimeout - time.Millisecond)
			change(t, z, "a", appending(text("a", "x")))
			time.Sleep(idleTimeout + time.Millisecond)
			synctest.Wait()
			z.mu.Lock()
			if z.running {
				t.Error("the sender runs")
			}
			z.mu.Unlock()
		}
		if n := len(f.dialled); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// The outcome of what is not answered is unknown. What waits meanwhile is not sent.
func TestTimeouts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{on: func(int) action { return isDropped }}
		z := f.zone(t, Config{})
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			_, err := z.Change(t.Context(), "a", appending(text("a", "x")), nil)
			assertError(t, err, Timeout, false, "unknown")
			if took := time.Since(began); took != changeTimeout {
				t.Errorf("it took %v", took)
			}
		})
		synctest.Wait()
		time.Sleep(time.Second)
		all.Go(func() {
			_, err := z.Change(t.Context(), "b", appending(text("b", "x")), nil)
			assertError(t, err, Busy, true, "nothing was sent")
			if took := time.Since(began); took != time.Second+turnTimeout {
				t.Errorf("it waited until %v", took)
			}
		})
		all.Wait()
		assertSent(t, f, "a")
		// A question that is not answered leaves the zone as it was.
		f.set(func() {
			f.spoil = func(answer *dns.Msg, wire []byte) []byte { time.Sleep(time.Minute); return nil }
		})
		_, err := z.Change(t.Context(), "a", deleting(matching("a", "TXT", "x")), nil)
		assertError(t, err, Timeout, true, "did not answer")
		time.Sleep(time.Minute) // the fake wakes up
	})
}

// A server that answers no questions after an update has made it.
func TestNoAnswerToTheLook(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{}
		f.answers = func(dns.Question, bool, *dns.Msg) { time.Sleep(time.Minute) }
		z := f.zone(t, Config{})
		began := time.Now()
		change(t, z, "a", appending(text("a", "x")))
		if took := time.Since(began); took != lookTimeout {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Minute) // the fake wakes up
	})
}

// What waits ends with its caller; what has begun does not.
func TestWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		z := f.zone(t, Config{})
		cause := errors.New("the caller is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := make(chan string, 4)
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := z.Change(ctx, "a", appending(text("a", "x")), func() { begun <- "a" }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			_, err := z.Change(ctx, "a", appending(text("b", "x")), func() { begun <- "b" })
			assertError(t, err, Busy, true, "withdrawn")
			if !errors.Is(err, cause) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel(cause)
		all.Wait()
		_, err := z.Change(ctx, "a", appending(text("c", "x")), func() { begun <- "c" })
		assertError(t, err, Busy, true, "withdrawn")
		assertSent(t, f, "a")
		if len(begun) != 1 || <-begun != "a" {
			t.Error("others have begun")
		}
	})
}

// The primaries are tried in order, the one that last worked first.
func TestPrimaries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{down: map[string]error{firstAddr.String(): errDown}}
		z := f.zone(t, Config{Primaries: []netip.AddrPort{firstAddr, otherAddr}})
		again := func() {
			change(t, z, "a", appending(text("a", "x")))
			time.Sleep(2 * idleTimeout)
		}
		again()
		again()
		f.set(func() { f.down = map[string]error{otherAddr.String(): errDown} })
		again()
		f.set(func() { f.down = nil })
		again()
		want := []string{firstAddr.String(), otherAddr.String(), otherAddr.String(), otherAddr.String(), firstAddr.String(), firstAddr.String()}
		if !slices.Equal(f.dialled, want) {
			t.Errorf("dialled %q, want %q", f.dialled, want)
		}
		f.set(func() {
			f.down = map[string]error{firstAddr.String(): errDown, otherAddr.String(): context.DeadlineExceeded}
		})
		_, err := z.Change(t.Context(), "a", appending(text("a", "x")), nil)
		assertError(t, err, Unreachable, true, "192.0.2.1:53 (refused the connection), 192.0.2.2:53 (no answer)")
		_, err = z.Records(t.Context(), "")
		assertError(t, err, Unreachable, true, "none of its primary name servers")
		// One that takes connections and does not answer is tried last from then on.
		f.set(func() { f.down, f.on = nil, func(int) action { return isDropped } })
		_, err = z.Change(t.Context(), "a", appending(text("a", "x")), nil)
		assertError(t, err, Timeout, false, firstAddr.String())
		f.set(func() { f.on = nil })
		again()
		if last := f.dialled[len(f.dialled)-1]; last != otherAddr.String() {
			t.Errorf("%s was asked next", last)
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &fake{takes: time.Second}
		z := f.zone(t, Config{})
		var all sync.WaitGroup
		all.Go(func() { change(t, z, "a", appending(text("a", "x"))) })
		synctest.Wait()
		all.Go(func() {
			_, err := z.Change(t.Context(), "a", appending(text("b", "x")), nil)
			assertError(t, err, Busy, true, "configuration")
		})
		synctest.Wait()
		z.Close()
		all.Wait()
		_, err := z.Change(t.Context(), "a", appending(text("c", "x")), nil)
		assertError(t, err, Busy, true, "configuration")
		assertSent(t, f, "a")
	})
}

func TestSignatures(t *testing.T) {
	resign := func(key string) func(answer *dns.Msg, wire []byte) []byte {
		return func(answer *dns.Msg, wire []byte) []byte {
			answer.SetTsig(testKey.Name.String(), testKey.Algorithm, fudge, time.Now().Unix())
			packed, _, err := dns.TsigGenerate(answer, key, "", false)
			if err != nil {
				panic(err)
			}
			return packed
		}
	}
	unsigned := func(rcode int) func(answer *dns.Msg, wire []byte) []byte {
		return func(answer *dns.Msg, wire []byte) []byte {
			answer.Rcode = rcode
			packed, err := answer.Pack()
			if err != nil {
				panic(err)
			}
			return packed
		}
	}
	for _, test := range []struct {
		name      string
		spoil     func(answer *dns.Msg, wire []byte) []byte
		kind      Kind
		unchanged bool
		says      string
	}{
		{"unsigned", unsigned(dns.RcodeSuccess), KeyRefused, false, "not signed"},
		{"unsigned refusal", unsigned(dns.RcodeRefused), KeyRefused, true, "the same secret"},
		{"unsigned NOTAUTH", unsigned(dns.RcodeNotAuth), Refused, true, "key.test"},
		{"other secret", resign(otherKey.Secret()), KeyRefused, false, "not rightly signed"},
		{"without the question's signature", resign(testKey.Secret()), KeyRefused, false, "not rightly signed"},
		{"refusal with another secret", func(answer *dns.Msg, wire []byte) []byte {
			answer.Rcode = dns.RcodeRefused
			return resign(otherKey.Secret())(answer, wire)
		}, Refused, false, "REFUSED"},
		{"altered", func(_ *dns.Msg, wire []byte) []byte { wire[2] ^= 1; return wire }, KeyRefused, false, "not rightly signed"},
		{"other name", func(answer *dns.Msg, wire []byte) []byte {
			answer.SetTsig("other.", testKey.Algorithm, fudge, time.Now().Unix())
			packed, _, _ := dns.TsigGenerate(answer, testKey.Secret(), "", false)
			return packed
		}, KeyRefused, false, "another key"},
		{"not DNS", func(_ *dns.Msg, wire []byte) []byte { return []byte("nonsense, and 12 octets") }, Failed, false, "unknown"},
		{"other ID", func(_ *dns.Msg, wire []byte) []byte { wire[0]++; return wire }, Failed, false, "not an answer"},
		{"a question", func(_ *dns.Msg, wire []byte) []byte { wire[2] &= 0x7f; return wire }, Failed, false, "not an answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := &fake{key: testKey, spoil: test.spoil}
				z := f.zone(t, Config{})
				_, err := z.Change(t.Context(), "a", appending(text("a", "x")), nil)
				e := assertError(t, err, test.kind, test.unchanged, test.says)
				if strings.Contains(fmt.Sprintf("%v %#v", e, e), testKey.Secret()) {
					t.Error("the secret is in the error")
				}
			})
		})
	}
	t.Run("secret", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			f := &fake{key: testKey}
			z := f.zone(t, Config{})
			z.Key = otherKey
			_, err := z.Change(t.Context(), "a", appending(text("a", "x")), nil)
			assertError(t, err, KeyRefused, true, "the secret there is another")
		})
	})
	t.Run("none", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			f := &fake{key: testKey, spoil: resign(testKey.Secret())}
			z := f.zone(t, Config{})
			z.Key = noKey
			_, err := z.Change(t.Context(), "a", appending(text("a", "x")), nil)
			assertError(t, err, KeyRefused, false, "not asked for")
		})
	})
}
