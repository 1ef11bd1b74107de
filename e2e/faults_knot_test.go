package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Faults between the service and the DNS server of a zone: the answers of the
// service about them are held to the same.
func TestFaultsAtKnot(t *testing.T) {
	t.Parallel()
	knot := harness.StartKnot(t, knotZoneName)
	between := newTCPFaults(t, knot.Addr)
	addr, token := harness.FreeAddr(t), api.NewToken()
	caddy := harness.StartCaddy(t, harness.CaddyBinary, "faults-knot.caddyfile", harness.Env{
		"KNOT": between.addr, "KNOT_KEY_NAME": knot.KeyName, "KNOT_KEY": knot.Key,
		"API_PORT": harness.Port(t, addr), "TOKEN_DIGEST": harness.Digest(token),
	})
	caddy.Accept(func(e harness.Entry) bool { return e.Message == "failed" || e.Message == "request failed" })
	direct := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
	for round, fault := range []struct {
		name   string
		strike func(net.Conn, string)
	}{
		{"connection refused", nil},
		{"connection closed before the request", func(client net.Conn, _ string) { readDNS(client) }},
		{"connection closed after the request", func(client net.Conn, server string) { exchangeDNS(client, server) }},
		{"connection closed in the middle of the answer", func(client net.Conn, server string) {
			answer := exchangeDNS(client, server)
			client.Write(answer[:len(answer)/2])
		}},
		{"silence", func(client net.Conn, _ string) { io.Copy(io.Discard, client) }},
		{"silence after the request", func(client net.Conn, server string) {
			exchangeDNS(client, server)
			io.Copy(io.Discard, client)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			var cases []*faultCase
			for i, call := range libdnsCalls() {
				c := &faultCase{
					call: call, direct: direct, token: token, bound: silenceBound,
					zone: fmt.Sprintf("k%d-%d.%s.", round, i, knotZoneName),
				}
				if call.name == "ListZones" {
					c.call.want = []string{knotZoneName + "."}
				}
				c.prepare(t)
				cases = append(cases, c)
			}
			between.setFault(fault.strike, true)
			var returned sync.WaitGroup
			checks := make([]func(), len(cases))
			for i, c := range cases {
				p := &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
				returned.Go(func() {
					started := time.Now()
					answer, err := c.call.do(t.Context(), p, c.zone)
					took := time.Since(started)
					checks[i] = func() {
						t.Run(c.call.name, func(t *testing.T) {
							noServer := !strings.HasPrefix(c.call.name, "ListZones")
							if failed := !c.check(t, answer, err, took); failed != noServer {
								t.Errorf("failed: %t, and should: %t: %v", failed, noServer, err)
							}
						})
					}
				})
			}
			returned.Wait()
			between.setFault(nil, false)
			for _, check := range checks {
				check()
			}
		})
	}
}

// tcpFaults is between the service and a DNS server.
type tcpFaults struct {
	addr, server string

	mu     sync.Mutex
	faulty bool
	strike func(client net.Conn, server string) // nil closes connections at once
}

func newTCPFaults(t testing.TB, server string) *tcpFaults {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &tcpFaults{addr: l.Addr().String(), server: server}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return f
}

func (f *tcpFaults) setFault(strike func(net.Conn, string), faulty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strike, f.faulty = strike, faulty
}

func (f *tcpFaults) serve(client net.Conn) {
	defer client.Close()
	f.mu.Lock()
	strike, faulty := f.strike, f.faulty
	f.mu.Unlock()
	switch {
	case !faulty:
		pipe(client, f.server)
	case strike != nil:
		strike(client, f.server)
	}
}

// pipe carries bytes both ways until one side ends.
func pipe(client net.Conn, server string) {
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		io.Copy(upstream, client)
		upstream.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, upstream)
}

// readDNS reads one message with its length before it (RFC 1035 §4.2.2).
func readDNS(conn net.Conn) []byte {
	message := make([]byte, 2)
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil
	}
	message = append(message, make([]byte, binary.BigEndian.Uint16(message))...)
	if _, err := io.ReadFull(conn, message[2:]); err != nil {
		return nil
	}
	return message
}

// exchangeDNS hands on one message and returns the first of its answer.
func exchangeDNS(client net.Conn, server string) []byte {
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return nil
	}
	defer upstream.Close()
	upstream.Write(readDNS(client))
	return readDNS(upstream)
}
