package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// Sockets that the system cannot read are not given up: while it is so, health, metric
// and log say where and why, and when it is over, what waited is answered, without a
// reload.
func TestFailingSockets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ network, call, errno, reason string }{
		{"udp", "recvmmsg", "ENOBUFS", "no buffer space available"},
		{"tcp", "accept4", "EMFILE", "too many open files"},
	} {
		t.Run(test.network, func(t *testing.T) {
			t.Parallel()
			s := harness.NewService(t)
			s.MustStart()
			s.WantHealth(t, "before", "") // and its connections stay for later
			failing := s.FailCalls(t, test.call, test.errno)
			conn, err := net.Dial(test.network, s.DNS)
			harness.NoError(t, err)
			defer conn.Close()
			const timeout = 30 * time.Second
			harness.NoError(t, conn.SetDeadline(time.Now().Add(timeout)))
			question := &dns.Conn{Conn: conn}
			harness.NoError(t, question.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(harness.HostedZone), dns.TypeSOA)))

			const began = "a socket cannot be read, so that DNS queries are lost; it is tried again until it can"
			harness.NoError(t, s.Log.Wait(1, timeout, harness.Message(began)))
			label := test.network + "/" + s.DNS
			// The last is as many as it takes for the pauses between tries to become their
			// longest. The service has counted all but the last that strace tells of.
			for _, tries := range []int{2, 6, 12} {
				failing.Wait(tries+1, timeout)
				if n := socketErrors(t, s, label); n < tries {
					t.Errorf("it counts %d errors, want %d", n, tries)
				}
				s.WantHealth(t, "while reading fails", label)
				s.WantHealth(t, "while reading fails", test.reason)
			}

			failing.Stop()
			if answer, err := question.ReadMsg(); err != nil || len(answer.Answer) != 1 {
				t.Errorf("what was asked meanwhile: %v, %v", answer, err)
			}
			s.WaitHealthy(t, "a socket can be read again")
			if lines := s.Log.Entries(harness.Message(began)); len(lines) != 1 {
				t.Errorf("%d lines of the log say that it fails", len(lines))
			}
			if lines := s.Log.Entries(func(e harness.Entry) bool { return e.Message == began && strings.Contains(e.Line, label) }); len(lines) != 1 {
				t.Errorf("the log does not say that it is %s", label)
			}
		})
	}
}

var socketErrorsMetric = regexp.MustCompile(`(?m)^bestdns_dns_socket_errors_total\{address="([^"]+)"\} (\S+)$`)

// socketErrors returns how often reading at an address has failed.
func socketErrors(t *testing.T, s *harness.Service, label string) (n int) {
	t.Helper()
	resp, err := s.Client.Get("http://" + s.Admin + "/metrics")
	harness.NoError(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %s", resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	harness.NoError(t, err)
	for _, found := range socketErrorsMetric.FindAllStringSubmatch(string(body), -1) {
		if found[1] == label {
			_, err := fmt.Sscan(found[2], &n)
			harness.NoError(t, err)
			return n
		}
	}
	t.Fatalf("there is no count of errors at %s", label)
	return 0
}
