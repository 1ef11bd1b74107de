package harness

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// runProgram starts a DNS server of others that ends with the test, and returns a channel
// that is closed when it has ended. What it wrote is shown if the test fails.
func runProgram(t testing.TB, name string, cmd *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	var log LockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	end := make(chan struct{})
	go func() { cmd.Wait(); close(end) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-end
		if t.Failed() {
			t.Logf("%s's log:\n%s", name, log.String())
		}
	})
	return end
}

// waitServes waits until the server at addr answers with authority for the zone.
func waitServes(t testing.TB, addr, zone string, ended <-chan struct{}) {
	t.Helper()
	waitSOA(t, addr, zone, ended, func(m *dns.Msg) bool { return m.Authoritative })
}

// waitResolves waits until the resolver at addr finds the zone.
func waitResolves(t testing.TB, addr, zone string, ended <-chan struct{}) {
	t.Helper()
	waitSOA(t, addr, zone, ended, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess })
}

func waitSOA(t testing.TB, addr, zone string, ended <-chan struct{}, good func(*dns.Msg) bool) {
	t.Helper()
	deadline := time.After(StartTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	for {
		answer, _, err := new(dns.Client).Exchange(question, addr)
		if err == nil && len(answer.Answer) == 1 && good(answer) {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatal("the DNS server ended before it answered")
		case <-deadline:
			t.Fatalf("the DNS server at %s does not answer for %s: %v, %v", addr, zone, answer, err)
		}
	}
}
