package nsquery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// script returns a server that answers each question as its turn says, by the last of them
// once they are over; and how many it was asked.
func script(t testing.TB, turns ...func(q *dns.Msg, network string) *dns.Msg) (Server, *atomic.Int32) {
	t.Helper()
	asked := new(atomic.Int32)
	at := serve(t, func(q *dns.Msg, network string) *dns.Msg {
		n := int(asked.Add(1)) - 1
		return turns[min(n, len(turns)-1)](q, network)
	})
	return Server{name(t, "ns.test"), at}, asked
}

func has(q *dns.Msg, _ string) *dns.Msg {
	return reply(q, q.Question[0].Name+" 60 IN TXT here")
}
func lacks(q *dns.Msg, _ string) *dns.Msg { return reply(q) }
func silent(*dns.Msg, string) *dns.Msg    { return nil }
func failing(q *dns.Msg, _ string) *dns.Msg { // for the name, and not for the zone
	if q.Question[0].Qtype == dns.TypeSOA {
		return reply(q, "test. 60 IN SOA ns. m. 1 1 1 1 1")
	}
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}

// tooLong has answers that fit in no datagram, and none over TCP.
func tooLong(q *dns.Msg, network string) *dns.Msg {
	if network == "tcp" && q.Question[0].Qtype == dns.TypeTXT {
		return nil
	}
	m := failing(q, "")
	m.Rcode, m.Authoritative, m.Truncated = dns.RcodeSuccess, true, q.Question[0].Qtype == dns.TypeTXT
	return m
}

func rcode(rcode int) func(*dns.Msg, string) *dns.Msg {
	return func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, rcode) }
}

func refers(cut string) func(*dns.Msg, string) *dns.Msg {
	return func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Ns = rrs(cut + " 60 IN NS ns.elsewhere.")
		return m
	}
}

// want is a TXT record at some names.
func want(t testing.TB, names ...string) (list []Wanted) {
	for _, text := range names {
		list = append(list, Wanted{
			Question: Question{Name: name(t, text), Type: dns.TypeTXT},
			Zone:     name(t, "test"), Has: func(a Answer) bool { return len(a.Texts()) > 0 },
		})
	}
	return list
}

// TestUntil waits for servers of each kind.
func TestUntil(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		turns  []func(*dns.Msg, string) *dns.Msg
		within time.Duration // 0: as long as it takes
		want   State
		asked  int32 // at least
	}{
		{"has it", []func(*dns.Msg, string) *dns.Msg{has}, 0, Serves, 1},
		{"late", []func(*dns.Msg, string) *dns.Msg{lacks, lacks, lacks, has}, 0, Serves, 4},
		{"lost datagrams", []func(*dns.Msg, string) *dns.Msg{silent, silent, has}, 0, Serves, 3},
		{"old", []func(*dns.Msg, string) *dns.Msg{lacks}, 300 * time.Millisecond, Lags, 3},
		{"silent", []func(*dns.Msg, string) *dns.Msg{silent}, 0, Silent, 3},
		{"silent for a short wait", []func(*dns.Msg, string) *dns.Msg{silent}, 500 * time.Millisecond, Silent, 1},
		{"silent, and no time to tell", []func(*dns.Msg, string) *dns.Msg{silent}, 100 * time.Millisecond, Lags, 1},
		{"silent from now on", []func(*dns.Msg, string) *dns.Msg{lacks, silent}, 0, Silent, 3},
		{"starting", []func(*dns.Msg, string) *dns.Msg{rcode(dns.RcodeServerFailure), rcode(dns.RcodeRefused), has}, 0, Serves, 3},
		{"fails for the name alone", []func(*dns.Msg, string) *dns.Msg{failing}, 3 * time.Second, Lags, 3},
		{"fails, and no time to tell", []func(*dns.Msg, string) *dns.Msg{rcode(dns.RcodeServerFailure)}, time.Second, Lags, 3},
		{"has what fits nowhere", []func(*dns.Msg, string) *dns.Msg{tooLong}, 3 * time.Second, Lags, 2},
		{"refuses", []func(*dns.Msg, string) *dns.Msg{rcode(dns.RcodeRefused)}, 0, Silent, 3},
		{"does not have the name yet", []func(*dns.Msg, string) *dns.Msg{func(q *dns.Msg, _ string) *dns.Msg {
			m := lacks(q, "")
			m.Rcode = dns.RcodeNameError
			return m
		}, has}, 0, Serves, 2},
		{"without authority", []func(*dns.Msg, string) *dns.Msg{func(q *dns.Msg, _ string) *dns.Msg {
			m := lacks(q, "")
			m.Authoritative = false
			return m
		}}, 0, Silent, 3},
		{"refers to a zone below", []func(*dns.Msg, string) *dns.Msg{refers("asked.test.")}, 500 * time.Millisecond, Lags, 3},
		{"refers to a zone above", []func(*dns.Msg, string) *dns.Msg{refers("test.")}, 0, Silent, 3},
		{"only over TCP", []func(*dns.Msg, string) *dns.Msg{func(q *dns.Msg, network string) *dns.Msg {
			m := lacks(q, "")
			if m.Truncated = network == "udp"; m.Truncated {
				return m
			}
			return has(q, "")
		}}, 0, Serves, 2},
		{"other answers before", []func(*dns.Msg, string) *dns.Msg{func(q *dns.Msg, _ string) *dns.Msg {
			m := has(q, "")
			m.Id++
			return m
		}, func(q *dns.Msg, _ string) *dns.Msg {
			m := has(q, "")
			m.Question[0].Qtype = dns.TypeA
			return m
		}}, 500 * time.Millisecond, Silent, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, asked := script(t, test.turns...)
			ctx := t.Context()
			if test.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.within)
				defer cancel()
			}
			got := new(Client).Until(ctx, "", []Server{server}, want(t, "asked.test"), nil)
			if len(got) != 1 || got[0].State != test.want || got[0].Server != server || asked.Load() < test.asked {
				t.Errorf("%+v after %d questions, want state %d", got, asked.Load(), test.want)
			}
		})
	}
}

// TestUntilUnreachable has no one listen, and no route.
func TestUntilUnreachable(t *testing.T) {
	var closed Server
	t.Run("a server that goes", func(t *testing.T) { closed, _ = script(t, has) })
	began := time.Now()
	servers := []Server{closed, {Name: name(t, "none.test")}}
	got := new(Client).Until(t.Context(), "", servers, want(t, "asked.test"), nil)
	if got[0].State != Silent || got[1].State != Silent || got[1].Server != servers[1] {
		t.Errorf("%+v", got)
	}
	if took := time.Since(began); took < refusal {
		t.Errorf("a server that may be starting was given up after %s", took)
	}
}

// TestUntilWaitsForSome waits for one server, and asks two others, by several RRsets.
func TestUntilWaitsForSome(t *testing.T) {
	prompt, asked := script(t, lacks, has)
	dead, _ := script(t, silent)
	old, _ := script(t, lacks)
	wanted := want(t, "a.test", "b.test", "c.test")
	got := new(Client).Until(t.Context(), "", []Server{dead, prompt, old}, wanted, func(s Server) bool { return s == prompt })
	if got[1].State != Serves || got[0].State != Lags || got[0].Last.Err == nil || got[2].State == Serves || asked.Load() != 4 {
		t.Errorf("%+v after %d questions", got, asked.Load())
	}
	// Half of it is not enough.
	half, _ := script(t, has, has, lacks)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got := new(Client).Until(ctx, "", []Server{half}, wanted, nil); got[0].State != Lags || got[0].Last.Question.Name != wanted[2].Question.Name {
		t.Errorf("%+v", got)
	}
	// A panic of the caller's function is the caller's.
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	wanted[0].Has = func(Answer) bool { panic("mine") }
	new(Client).Until(t.Context(), "", []Server{prompt}, wanted, nil)
}

// TestUntilIsBounded has many wait for one server, which is asked no more often for that.
func TestUntilIsBounded(t *testing.T) {
	const waiting, within = 100, 500 * time.Millisecond
	old, asked := script(t, lacks)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	client := new(Client)
	var all sync.WaitGroup
	for i := range waiting {
		all.Go(func() { client.Until(ctx, "many", []Server{old}, want(t, fmt.Sprintf("n%d.test", i)), nil) })
	}
	prompt, _ := script(t, lacks, lacks, lacks, has)
	prompt.Address = old.Address // another client's wait for the same server is not held up by theirs
	client.polls.begin(ctx, polled{old.Address, "other"})
	if pause := client.polls.pause(polled{old.Address, "other"}); pause > mostPause {
		t.Errorf("another client waits %s between two questions", pause)
	}
	client.polls.end(polled{old.Address, "other"})
	all.Wait()
	if most := waiting + int32(2*within/serverPause); asked.Load() > most {
		t.Errorf("%d questions in %s, most are %d", asked.Load(), within, most)
	}
	if len(client.polls.at) > 0 || len(client.polls.slots) > 0 {
		t.Errorf("%d servers are still counted, %d slots taken", len(client.polls.at), len(client.polls.slots))
	}
}

// BenchmarkUntil tells how long after the change it is seen.
func BenchmarkUntil(b *testing.B) {
	var changed atomic.Pointer[time.Time]
	at := serve(b, func(q *dns.Msg, _ string) *dns.Msg {
		if c := changed.Load(); c != nil && time.Now().After(*c) {
			return has(q, "")
		}
		return lacks(q, "")
	})
	var total time.Duration
	for b.Loop() {
		c := time.Now().Add(300 * time.Millisecond)
		changed.Store(&c)
		new(Client).Until(b.Context(), "", []Server{{Address: at}}, want(b, "asked.test"), nil)
		total += time.Since(c)
	}
	b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms-late")
}

// FuzzUntil sends answers that are any bytes: no answer to another question counts.
func FuzzUntil(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00", 12)))
	f.Add([]byte("\x00\x01\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00\x05asked\x04test\x00\x00\x10\x00\x01\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c\x00\x05\x04here"))
	server := Server{Address: netip.MustParseAddrPort("192.0.2.1:53")}
	f.Fuzz(func(t *testing.T, answer []byte) {
		client := &Client{Dial: dialTo(answer)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		client.Until(ctx, "", []Server{server}, want(t, "asked.test"), nil)
	})
}

// dialTo makes connections on which each datagram has the same answer, with the id that it
// needs.
func dialTo(answer []byte) Dialer {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			buf := make([]byte, payload)
			for {
				n, err := theirs.Read(buf)
				if err != nil || n < 2 {
					return
				}
				_ = theirs.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				if len(answer) >= 2 {
					copy(answer, buf[:2])
				}
				if _, err := theirs.Write(answer); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}
