// Package nsquery asks name servers: which servers a zone has ([Resolver]), what one of
// them says about an RRset ([Client.Ask]), what all of them say ([Client.AskAll]), and
// whether all have what was written ([Client.Until]).
//
// What it reads is written by others: a zone's NS records, the addresses of their names,
// referrals. So each list has a bound (mostNames, mostAddresses, mostCuts), each question
// a time, and few are under way at once. An answer counts only if it is to the question
// that was sent: it comes from the address that was asked, on a socket of its own, with
// the question's id, name, type and class.
package nsquery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Dialer opens a connection to a name server: network is "udp" or "tcp".
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Client says how name servers are asked. It is safe for concurrent use.
type Client struct {
	Dial Dialer // nil: as a [net.Dialer] does
	// UDPTimeout is the time of one datagram's answer; each is sent up to udpTries times.
	// 0: defaultUDPTimeout.
	UDPTimeout time.Duration
	// AlsoTCP has Ask try TCP too where there is no answer over UDP, as a CA's resolver does.
	AlsoTCP bool

	polls polls
}

const (
	udpTries          = 2
	defaultUDPTimeout = 1500 * time.Millisecond // a CA waits about as long
	tcpTimeout        = 3 * time.Second
)

// payload is how large an answer over UDP may be in bytes. That fits every path (the DNS flag
// day of 2020).
const payload = 1232

// Question asks for an RRset.
type Question struct {
	Name record.Name
	Type uint16
	// Recurse asks a resolver. NoValidation asks it not to validate.
	Recurse, NoValidation bool
}

func (q Question) String() string { return q.Name.Plain() + " " + dns.TypeToString[q.Type] }

func (q Question) message() *dns.Msg {
	m := new(dns.Msg).SetQuestion(q.Name.String(), q.Type)
	m.RecursionDesired = q.Recurse
	m.CheckingDisabled = q.NoValidation
	m.SetEdns0(payload, true)
	return m
}

// Ask asks over UDP, and over TCP where the answer did not fit. address is "host:port".
func (c *Client) Ask(ctx context.Context, address string, q Question) Answer {
	answer := c.AskOver(ctx, "udp", address, q)
	if answer.Err == nil && !answer.truncated || answer.Err != nil && !c.AlsoTCP {
		return answer
	}
	whole := c.AskOver(ctx, "tcp", address, q)
	if whole.Err != nil && answer.Err != nil {
		return answer
	}
	return whole
}

// AskOver asks over one network, "udp" or "tcp". Lost datagrams are sent again; a truncated
// answer is an answer.
func (c *Client) AskOver(ctx context.Context, network, address string, q Question) Answer {
	tries, timeout := 1, tcpTimeout
	if network == "udp" {
		tries, timeout = udpTries, c.UDPTimeout
		if timeout == 0 {
			timeout = defaultUDPTimeout
		}
	}
	question := q.message() // of one id, by which a server may know a datagram that it had already
	var m *dns.Msg
	err := context.DeadlineExceeded
	for try := 0; try < tries && ctx.Err() == nil && IsTimeout(err); try++ {
		m, err = c.exchange(ctx, network, address, question, timeout)
	}
	if err != nil {
		return Answer{Question: q, Err: err}
	}
	return newAnswer(q, m)
}

func newAnswer(q Question, m *dns.Msg) Answer {
	return Answer{
		Question: q, Rcode: m.Rcode, Authoritative: m.Authoritative, truncated: m.Truncated,
		Records: m.Answer, Authority: m.Ns, Additional: m.Extra,
	}
}

func (c *Client) exchange(ctx context.Context, network, address string, question *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library goes by the deadline alone: closing ends it when ctx is cancelled.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	client := &dns.Client{Net: network, Timeout: timeout}
	answer, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn}) // compares the ids
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case !isTo(answer, question):
		return nil, errors.New("the answer is to another question")
	}
	return answer, nil
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.Dial != nil {
		return c.Dial(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// isTo reports whether a message is the answer to a question.
func isTo(answer, question *dns.Msg) bool {
	return answer.Response && answer.Id == question.Id && len(answer.Question) == 1 && isSame(answer.Question[0], question.Question[0])
}

func isSame(a, b dns.Question) bool {
	return nameOf(a.Name) == nameOf(b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// IsTimeout reports whether an error is that nothing came in time.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// IsUnreachable reports whether this machine has no route there at all, as to IPv6
// addresses where there is no IPv6.
func IsUnreachable(err error) bool {
	for _, number := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EACCES} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

// Reason says in a few words why there was no answer.
func Reason(err error) string {
	var op *net.OpError
	switch {
	case IsTimeout(err):
		return "no answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection"
	case errors.Is(err, syscall.ECONNRESET):
		return "closed the connection"
	case IsUnreachable(err):
		return "cannot be reached from here"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// RcodeText names a response code.
func RcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return fmt.Sprintf("code %d", rcode)
}
