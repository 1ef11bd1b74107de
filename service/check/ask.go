package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Dialer opens a connection to a name server: network is "udp" or "tcp".
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// How long a name server has for an answer. A CA waits about as long.
const (
	udpTimeout = 1500 * time.Millisecond // each of udpTries
	udpTries   = 2
	tcpTimeout = 3 * time.Second
)

// dnsPort is where name servers are.
const dnsPort = 53

// query is one question and the flags that it is asked with.
type query struct {
	name string // absolute
	typ  uint16
	// recurse asks a resolver. unchecked asks it not to validate.
	recurse, unchecked bool
}

func (q query) String() string { return plain(q.name) + " " + dns.TypeToString[q.typ] }

func (q query) message() *dns.Msg {
	m := new(dns.Msg).SetQuestion(q.name, q.typ)
	m.RecursionDesired = q.recurse
	m.CheckingDisabled = q.unchecked
	const payload = 1232 // fits every path (the DNS flag day of 2020)
	m.SetEdns0(payload, true)
	return m
}

// over asks once over the given network, "udp" or "tcp": lost datagrams are sent
// again, truncated answers are answers.
func (d Dialer) over(ctx context.Context, network, address string, q query) (answer *dns.Msg, err error) {
	if network == "tcp" {
		return d.exchange(ctx, network, address, q, tcpTimeout)
	}
	for range udpTries {
		if answer, err = d.exchange(ctx, network, address, q, udpTimeout); !isTimeout(err) {
			break
		}
	}
	return answer, err
}

// ask asks over UDP, and over TCP where that gives no whole answer.
func (d Dialer) ask(ctx context.Context, address string, q query) (*dns.Msg, error) {
	answer, err := d.over(ctx, "udp", address, q)
	if err == nil && !answer.Truncated {
		return answer, nil
	}
	whole, errTCP := d.over(ctx, "tcp", address, q)
	if errTCP != nil && err == nil {
		return nil, errTCP // the truncated answer is of no use
	}
	if errTCP != nil {
		return nil, err
	}
	return whole, nil
}

func (d Dialer) exchange(ctx context.Context, network, address string, q query, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := d(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := &dns.Client{Net: network, Timeout: timeout}
	answer, _, err := client.ExchangeWithConnContext(ctx, q.message(), &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.name) || answer.Question[0].Qtype != q.typ {
		return nil, errors.New("the answer is to another question")
	}
	return answer, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// isUnreachable reports whether this machine has no way there at all.
func isUnreachable(err error) bool {
	for _, number := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EACCES} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

// reason says in a few words why there was no answer.
func reason(err error) string {
	switch {
	case isTimeout(err):
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection"
	case errors.Is(err, syscall.ECONNRESET):
		return "closed the connection"
	case isUnreachable(err):
		return "cannot be reached from here"
	}
	var op *net.OpError
	var request *url.Error
	switch {
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.As(err, &request): // it repeats the URL
		return request.Err.Error()
	}
	return err.Error()
}

// server is a name server at one of its addresses.
type server struct {
	name string // absolute
	addr netip.Addr
}

func (s server) address() string { return netip.AddrPortFrom(s.addr, dnsPort).String() }

func (s server) String() string { return fmt.Sprintf("%s (%s)", plain(s.name), s.addr) }

// addressRecord is the record that gives a name server the address.
func (s server) addressRecord() string {
	return fmt.Sprintf("%s %s %s", s.name, addressType(s.addr), s.addr)
}

func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

func rcode(m *dns.Msg) string {
	if text, ok := dns.RcodeToString[m.Rcode]; ok {
		return text
	}
	return fmt.Sprintf("RCODE%d", m.Rcode)
}
