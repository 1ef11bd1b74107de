package rfc2136

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

var secondaryAddr = netip.MustParseAddrPort("192.0.2.9:53")

// notified returns a zone on a fake with a secondary, whose questions come from the channel and
// whose answers go into it: nil is none.
func notified(t *testing.T) (*fake, *Zone) {
	f := &fake{notifies: make(chan *dns.Msg)}
	return f, f.zone(t, Config{Notify: []Secondary{{Address: secondaryAddr}}})
}

// next returns the next NOTIFY, nil if there is none within a second.
func (f *fake) next(t *testing.T) *dns.Msg {
	t.Helper()
	select {
	case m := <-f.notifies:
		if m.Opcode != dns.OpcodeNotify || len(m.Question) != 1 || m.Question[0].Name != zoneName || m.Question[0].Qtype != dns.TypeSOA {
			t.Errorf("a NOTIFY is\n%s", m)
		}
		return m
	case <-time.After(time.Second):
		return nil
	}
}

// A secondary is told as soon as the update is answered, and no one waits for its answer. While
// it has not come, no other NOTIFY is sent; after it, one for all.
func TestNotify(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, z := notified(t)
		began := time.Now()
		for i := range 5 {
			change(t, z, "a", appending(text(fmt.Sprint("n", i), "x")))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the changes took %v", took)
		}
		for range 2 {
			m := f.next(t)
			if m == nil {
				t.Fatal("no NOTIFY came")
			}
			f.notifies <- new(dns.Msg).SetReply(m)
		}
		if m := f.next(t); m != nil {
			t.Errorf("one more came:\n%s", m)
		}
		change(t, z, "a", appending(text("again", "x")))
		m := f.next(t)
		f.notifies <- new(dns.Msg).SetReply(m)
	})
}

// A NOTIFY without an answer is sent again, some times.
func TestNotifyAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, z := notified(t)
		change(t, z, "a", appending(text("a", "x")))
		count := func() (n int) {
			for f.next(t) != nil {
				f.notifies <- nil
				n++
			}
			return n
		}
		if n := count(); n != notifyTries {
			t.Errorf("%d were sent", n)
		}
		// One that is refused is not.
		change(t, z, "a", appending(text("a", "x")))
		m := f.next(t)
		f.notifies <- new(dns.Msg).SetRcode(m, dns.RcodeRefused)
		if n := count(); n != 0 {
			t.Errorf("%d more were sent", n)
		}
		// After the end, what has to be sent is, once.
		change(t, z, "a", appending(text("a", "x")))
		z.Close()
		if n := count(); n != 1 {
			t.Errorf("%d were sent after the end", n)
		}
		synctest.Wait()
	})
}

// What else comes is not an answer.
func TestNotifyAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, z := notified(t)
		change(t, z, "a", appending(text("a", "x")))
		m := f.next(t)
		other := new(dns.Msg).SetReply(m)
		other.Id++
		f.notifies <- other
		if m = f.next(t); m == nil {
			t.Fatal("an answer to another question is taken for one")
		}
		f.notifies <- new(dns.Msg).SetReply(m)
		if f.next(t) != nil {
			t.Error("it is sent again")
		}
	})
}
