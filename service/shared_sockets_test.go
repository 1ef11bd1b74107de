package service

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nameserver"
)

// socketsOpen returns the addresses of the sockets in the pool, in order.
func socketsOpen() (labels []string) {
	openSockets.mu.Lock()
	defer openSockets.mu.Unlock()
	for label, bound := range openSockets.bound {
		for range bound.sockets {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return labels
}

// newestSocket returns the one that the pool has for an address.
func newestSocket(t *testing.T, label string) *socket {
	t.Helper()
	openSockets.mu.Lock()
	defer openSockets.mu.Unlock()
	bound := openSockets.bound[label]
	if bound == nil {
		t.Fatalf("nothing is open at %s", label)
	}
	return bound.sockets[len(bound.sockets)-1]
}

// breakSocket has each read of a socket fail from now on.
func breakSocket(t *testing.T, s *socket) {
	t.Helper()
	switch owner := s.owner.(type) {
	case net.PacketConn:
		if err := owner.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	case net.Listener:
		// The system takes it out of those that listen, for good.
		raw, err := bareListener(t, owner).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			if err := syscall.Shutdown(int(fd), syscall.SHUT_RDWR); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "the socket fails", func() bool { return s.Err() != nil })
}

// bareListener takes off what Caddy has wrapped a listener in: a struct with it in the
// first field.
func bareListener(t *testing.T, wrapped net.Listener) *net.TCPListener {
	t.Helper()
	bare, ok := reflect.ValueOf(wrapped).Field(0).Interface().(*net.TCPListener)
	if !ok {
		t.Fatalf("Caddy has wrapped something else in a %T", wrapped)
	}
	return bare
}

// waitUntil waits for what happens in a goroutine of its own, at any moment.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s it is not so that %s", what)
		}
	}
}

// unstartable is the standard configuration with an address that the machine does not
// have, after those that it has.
func (s *service) unstartable() string {
	return strings.Replace(s.standard(), "listen "+s.dns, "listen "+s.dns+" 192.0.2.1:53", 1)
}

// TestReloadOpensFailingSocketsAnew has a socket fail for good: health and metrics say
// so, and a reload opens another one in its place, and leaves the others alone.
func TestReloadOpensFailingSocketsAnew(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := newService(t)
			s.admin = freeAddress(t)
			started := time.Now()
			s.load(t, s.standard())
			loaded := time.Now()
			label := network + "/" + s.dns
			series := fmt.Sprintf("bestdns_dns_socket_errors_total{address=%q}", label)
			if before, there := s.metrics(t)[series]; !there || before != 0 {
				t.Errorf("before, %s is %v (there: %v)", series, before, there)
			}
			open := map[string]*socket{"udp": newestSocket(t, "udp/"+s.dns), "tcp": newestSocket(t, "tcp/"+s.dns)}

			s.load(t, s.standard()+"\nrate_limit 60")
			if since := liveApps.newest(nil).healthySince(); since.Before(started) || since.After(loaded) {
				t.Errorf("after a reload, healthy since %v, and it was loaded from %v to %v", since, started, loaded)
			}
			breakSocket(t, open[network])
			if health := s.call(t, "", http.MethodGet, "/v1/health", ""); health.status != http.StatusServiceUnavailable || !strings.Contains(health.body, label) {
				t.Errorf("health: %d %s", health.status, health.body)
			}
			failing := s.metrics(t)
			if failing["bestdns_healthy"] != 0 || failing[series] == 0 {
				t.Errorf("bestdns_healthy is %v and %s %v", failing["bestdns_healthy"], series, failing[series])
			}

			// A configuration that is refused changes nothing.
			if err := s.tryLoad(t, s.unstartable()); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
				t.Errorf("a configuration that cannot start: %v", err)
			}
			if diff := cmp.Diff([]string{"tcp/" + s.dns, "udp/" + s.dns}, socketsOpen()); diff != "" {
				t.Errorf("open after a configuration that was refused (-want +got):\n%s", diff)
			}

			s.load(t, s.standard()+"\nrate_limit 50")
			if health := s.call(t, "", http.MethodGet, "/v1/health", ""); health.status != http.StatusOK {
				t.Errorf("health after a reload: %d %s", health.status, health.body)
			}
			if since := liveApps.newest(nil).healthySince(); since.Before(loaded) {
				t.Errorf("healthy since %v, and the socket failed after %v", since, loaded)
			}
			after := s.metrics(t)
			if after["bestdns_healthy"] != 1 || after[series] < failing[series] {
				t.Errorf("after a reload, bestdns_healthy is %v, and %s %v after %v", after["bestdns_healthy"], series, after[series], failing[series])
			}
			client := dns.Client{Net: network, Timeout: 10 * time.Second}
			if _, _, err := client.Exchange(new(dns.Msg).SetQuestion("example.test.", dns.TypeSOA), s.dns); err != nil {
				t.Errorf("after a reload: %v", err)
			}
			if diff := cmp.Diff([]string{"tcp/" + s.dns, "udp/" + s.dns}, socketsOpen()); diff != "" {
				t.Errorf("open after a reload (-want +got):\n%s", diff)
			}
			for other, socket := range open {
				if same := newestSocket(t, other+"/"+s.dns) == socket; same != (other != network) {
					t.Errorf("the socket for %s is the same: %v", other, same)
				}
			}
		})
	}
}

// TestStoresOfOneAddress reloads with another store: the sockets stay, and the newest
// configuration's store answers, and the one before when that configuration fails.
func TestStoresOfOneAddress(t *testing.T) {
	s := startStandard(t)
	open := socketsOpen()
	udp := newestSocket(t, "udp/"+s.dns)
	which := func() string {
		t.Helper()
		answer := s.ask(t, "which.example.test.", dns.TypeTXT)
		if len(answer.Answer) != 1 {
			return ""
		}
		return answer.Answer[0].(*dns.TXT).Txt[0]
	}
	write := func(data string) {
		t.Helper()
		s.must(t, "ops", "example.test", fmt.Sprintf(`{"set":[{"name":"which","type":"TXT","data":%q}]}`, data))
	}
	write("first")
	first := s.standard()
	s.store = filepath.Join(s.dir, "second.db")
	s.load(t, s.standard())
	if got := which(); got != "" {
		t.Errorf("the second store answers what is in the first: %q", got)
	}
	write("second")
	s.load(t, first)
	if got := which(); got != "first" {
		t.Errorf("with the first store again: %q", got)
	}
	if err := s.tryLoad(t, s.unstartable()); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("a configuration that cannot start: %v", err)
	}
	if got := which(); got != "first" {
		t.Errorf("after a configuration that failed: %q", got)
	}
	s.load(t, s.standard())
	if got := which(); got != "second" {
		t.Errorf("with the second store again: %q", got)
	}
	if newestSocket(t, "udp/"+s.dns) != udp {
		t.Error("it is another socket")
	}
	if diff := cmp.Diff(open, socketsOpen()); diff != "" {
		t.Errorf("open (-before +after):\n%s", diff)
	}
}

// TestSocketPool counts users, and keeps to what works.
func TestSocketPool(t *testing.T) {
	addresses, err := parseListen("udp/" + freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	pool := socketPool{bound: make(map[string]*boundAddress)}
	acquire := func() *socket {
		t.Helper()
		s, err := pool.acquire(addresses[0])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	release := func(s *socket) {
		t.Helper()
		if err := pool.release(s); err != nil {
			t.Error(err)
		}
	}
	server, err := nameserver.Open(nameserver.Options{Path: filepath.Join(t.TempDir(), "records.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	first := acquire()
	if acquire() != first {
		t.Error("a second user has another socket")
	}
	first.Serve(server)
	breakSocket(t, first)
	second := acquire()
	if second == first || acquire() != second {
		t.Error("a failing socket is not replaced, or more than once")
	}
	errors := pool.errors(first.label)
	if errors == 0 {
		t.Error("no errors are counted")
	}
	release(first)
	if len(pool.bound[first.label].sockets) != 2 {
		t.Error("a socket is closed that has a user")
	}
	release(first)
	if got := pool.errors(second.label); got < errors {
		t.Errorf("%d errors after %d", got, errors)
	}
	if acquire() != second {
		t.Error("the socket that works is not used")
	}
	for range 3 {
		release(second)
	}
	if len(pool.bound) != 0 || pool.errors(first.label) != 0 {
		t.Errorf("left in the pool: %v", pool.bound)
	}
}
