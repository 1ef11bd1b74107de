package harness

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Follower is a secondary of others that a test follows from before its first transfer.
type Follower struct {
	Secondary
	*Process
}

// FollowerKinds are the servers that can be one.
var FollowerKinds = []string{"Knot", "NSD", "BIND", "PowerDNS"}

// NewFollower prepares a secondary of a kind. It is yet to be started.
func NewFollower(t testing.TB, kind string, s Secondary) *Follower {
	t.Helper()
	kinds := map[string]func(testing.TB, Secondary) *Process{
		"Knot": newKnotSecondary,
		"NSD":  func(t testing.TB, s Secondary) *Process { return newNSDSecondary(t, s, 0) },
		"BIND": newBINDSecondary, "PowerDNS": newPowerDNSSecondary,
	}
	return &Follower{s, kinds[kind](t, s)}
}

// WaitSerial waits until it serves the zone with a serial, or a later one, and returns how long
// that took.
func (s *Follower) WaitSerial(serial uint32) time.Duration {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.Zone), dns.TypeSOA)
	return s.wait(question, func(m *dns.Msg) bool {
		if len(m.Answer) != 1 || !m.Authoritative {
			return false
		}
		soa, ok := m.Answer[0].(*dns.SOA)
		return ok && int32(soa.Serial-serial) >= 0
	})
}

// WaitText waits until it serves a text at a name of the zone, and returns how long that took.
func (s *Follower) WaitText(name, text string) time.Duration {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name+"."+s.Zone), dns.TypeTXT)
	return s.wait(question, func(m *dns.Msg) bool {
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok && strings.Join(txt.Txt, "") == text {
				return true
			}
		}
		return false
	})
}

// Serial returns that of the zone as it serves it.
func (s *Follower) Serial() uint32 {
	s.t.Helper()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.Zone), dns.TypeSOA)
	answer, _, err := new(dns.Client).Exchange(question, s.Addr)
	if err != nil || len(answer.Answer) != 1 {
		s.t.Fatalf("%s: %v, %v", s.name, answer, err)
	}
	return answer.Answer[0].(*dns.SOA).Serial
}

// Answers reports whether it answers for the zone, right or wrong.
func (s *Follower) Answers() bool {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(s.Zone), dns.TypeSOA)
	_, _, err := (&dns.Client{Timeout: time.Second}).Exchange(question, s.Addr)
	return err == nil
}

func (s *Follower) wait(question *dns.Msg, good func(*dns.Msg) bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	client := &dns.Client{Timeout: 500 * time.Millisecond}
	for pause := time.Millisecond / 2; ; pause = min(2*pause, 5*time.Millisecond) {
		answer, _, err := client.Exchange(question, s.Addr)
		if err == nil && good(answer) {
			return time.Since(began)
		}
		select {
		case <-s.ended:
			s.t.Fatalf("%s has ended", s.name)
		case <-time.After(pause):
		}
		if time.Since(began) > StartTimeout {
			s.t.Fatalf("%s does not serve it: %v, %v", s.name, answer, err)
		}
	}
}
