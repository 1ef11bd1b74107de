package check

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// TestCompareSOA distinguishes servers that follow from one that does not.
func TestCompareSOA(t *testing.T) {
	const last, wrapped = 1<<32 - 1, 3 // serials go round (RFC 1982)
	for name, test := range map[string]struct {
		before, after []uint32 // by server; 0: no answer
		want          Status
	}{
		"the same":             {[]uint32{7, 7}, []uint32{7, 7}, OK},
		"following":            {[]uint32{7, 6}, []uint32{9, 8}, Warning},
		"caught up":            {[]uint32{7, 6}, []uint32{8, 8}, OK},
		"standing still":       {[]uint32{7, 6}, []uint32{9, 6}, Wrong},
		"both standing still":  {[]uint32{7, 6}, []uint32{7, 6}, Wrong},
		"one went silent":      {[]uint32{7, 6}, []uint32{7, 0}, OK},
		"still, round the end": {[]uint32{wrapped, last}, []uint32{wrapped, last}, Wrong},
		"following, round":     {[]uint32{last, last - 1}, []uint32{wrapped, last}, Warning},
	} {
		servers := make([]nsquery.Server, 2)
		soas := func(serials []uint32) map[nsquery.Server]*dns.SOA {
			found := make(map[nsquery.Server]*dns.SOA)
			for i, serial := range serials {
				servers[i] = nsquery.At(record.Name(fmt.Sprintf("\x03ns%d\x07example\x00", i)), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
				if serial != 0 {
					found[servers[i]] = &dns.SOA{Ns: "ns0.example.", Serial: serial}
				}
			}
			return found
		}
		before, after := soas(test.before), soas(test.after)
		if step, ok := compareSOA("\x07example\x00", servers, before, after); !ok || step.Status != test.want || (step.Do == "") != (step.Status == OK) {
			t.Errorf("%s: %v", name, step)
		}
	}
}

// TestCopyOnItsWay has a server follow after it was asked: nothing is wrong with that.
func TestCopyOnItsWay(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.named["ns2"].serial = 7
	var soa []Step
	s.options.Report = func(step Step) {
		switch step.Name {
		case "server": // all have been asked
			s.mu.Lock()
			s.named["ns2"].serial = 0
			s.mu.Unlock()
		case "soa":
			soa = append(soa, step)
		}
	}
	s.run(t)
	want := []Step{{Name: "soa", Zone: "acme.example.com", Status: OK, Found: "all servers have serial 1, primary ns1.primary"}}
	if diff := cmp.Diff(want, soa); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestListensElsewhere has the advice about a silent server fit a configuration that listens elsewhere.
func TestListensElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		listen []string
		says   string
		lines  int // that are to be written
	}{
		"not known":        {nil, "for the built-in name server, the option below", 1},
		"everywhere":       {[]string{":53"}, "for the built-in name server, the option below", 1},
		"one of two":       {[]string{"127.0.0.1:53", "192.0.2.6:53"}, "for the built-in name server, the option below", 1},
		"a high port":      {[]string{"127.0.0.1:5353", ":5353"}, "listens on 127.0.0.1:5353 and :5353, and CAs and resolvers come to port 53 of 192.0.2.6: forward UDP and TCP from there to it", 0},
		"loopback":         {[]string{"127.0.0.1:53"}, "listens on 127.0.0.1:53, and CAs and resolvers come to port 53 of 192.0.2.6: forward", 0},
		"loopback, a name": {[]string{"localhost:53"}, "for the built-in name server, the option below", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.changeServer("ns2 without-udp")
			s.changeServer("ns2 without-tcp")
			s.options.Hosted = []HostedZone{{Name: "acme.example.com.", NameServers: []NameServer{{Name: "ns1.acme.example.com."}}}}
			s.options.Listen = test.listen
			for _, step := range s.run(t).Steps {
				if step.Name == "server" && step.Status == Wrong && strings.Contains(step.Do, test.says) && len(step.Lines) == test.lines {
					return
				}
			}
			t.Errorf("no step says %q", test.says)
		})
	}
}
