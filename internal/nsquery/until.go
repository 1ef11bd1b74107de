package nsquery

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is the waiting until all name servers of a zone have a change.
//
// Each server is asked for the very RRset, again and again, since what it serves is all that
// counts: an update's answer tells no serial to wait for. A change that has arrived is seen
// half a pause later.

// Wanted is an RRset, and what it must have.
type Wanted struct {
	Question Question
	// Zone is the zone that the servers have. A referral to one below it is an answer without
	// what is wanted; any other referral is not an answer.
	Zone record.Name
	// Has reports whether an answer has what is wanted.
	Has func(Answer) bool
}

// State is what a server is known to do.
type State int

// The states of a server.
const (
	Lags   State = iota // it answers, and does not have all that is wanted
	Serves              // it has all that is wanted
	Silent              // it does not answer, or only that it cannot
)

// Outcome is what became of waiting for a server.
type Outcome struct {
	Server Server
	State  State
	// Last is the last answer of a server that lags. Its Err is set where there was none yet.
	Last Answer
	// Unreachable is set for a silent server to which this machine has no route.
	Unreachable bool
	// Took is how long it was until the outcome was known.
	Took time.Duration
}

const (
	// silence is how long a server may be without a good answer before it is not waited
	// for: it may be so for days, and resolvers ask the others.
	silence = 2 * time.Second
	// refusal is the same where its machine says that nothing listens there.
	refusal = 300 * time.Millisecond

	// The pause after an answer that lacks what is wanted, which becomes longer.
	firstPause = 5 * time.Millisecond
	mostPause  = 25 * time.Millisecond
	growth     = 1.4
	// tcpPause is the least pause after an answer that has needed a connection of its own.
	tcpPause = 100 * time.Millisecond
	// resend is after how long a datagram is sent again before the server's round-trip time
	// is known. It doubles.
	resend = 50 * time.Millisecond

	// serverPause bounds what is sent to one server by those who wait under one name: one
	// datagram in so much time. Others do not wait longer for that.
	serverPause = time.Millisecond
	// connectionPause bounds the connections to one server by all who wait: one in so much time.
	// Each takes a port of this machine for a minute.
	connectionPause = 20 * time.Millisecond
	// mostPolls is how many servers are asked at the same time by all who wait. Each has a
	// socket.
	mostPolls = 8192
)

// Until asks each server for what is wanted, one RRset after the other, until all servers have
// all of it, or ctx ends; a server that is silent for two seconds is not waited for. Those of
// which isAwaited says no are asked too, but not waited for. nil awaits all. Waits for one client,
// whose name may be empty, are asked less often the more of them there are.
//
// The outcomes are in the order of the servers.
func (c *Client) Until(ctx context.Context, client string, servers []Server, wanted []Wanted, isAwaited func(Server) bool) []Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make([]Outcome, len(servers))
	var awaited, others sync.WaitGroup
	panics := make(chan any, len(servers))
	for i, s := range servers {
		group := &others
		if isAwaited == nil || isAwaited(s) {
			group = &awaited
		}
		group.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics <- p
				}
			}()
			began := time.Now()
			outcomes[i] = c.poll(ctx, client, s, wanted)
			outcomes[i].Took = time.Since(began)
		})
	}
	awaited.Wait()
	cancel()
	others.Wait() // which ends with ctx
	if len(panics) > 0 {
		panic(<-panics)
	}
	return outcomes
}

// poll asks one server until it has all that is wanted, is silent, or ctx ends.
func (c *Client) poll(ctx context.Context, name string, s Server, wanted []Wanted) Outcome {
	none := Answer{Err: context.DeadlineExceeded}
	if !s.Address.IsValid() {
		return Outcome{Server: s, State: Silent, Last: Answer{Err: ErrNoAddress}}
	}
	of := polled{s.Address, name}
	if !c.polls.begin(ctx, of) {
		return Outcome{Server: s, Last: none}
	}
	defer c.polls.end(of)
	p := &poll{client: c, of: of, good: time.Now(), last: none}
	conn, err := c.dial(ctx, "udp", s.Address.String())
	switch {
	case err == nil:
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
		p.conn = conn
	case ctx.Err() != nil:
		return Outcome{Server: s, Last: none}
	case !c.AlsoTCP:
		return Outcome{Server: s, State: Silent, Last: Answer{Err: err}, Unreachable: IsUnreachable(err)}
	}
	for _, w := range wanted {
		p.zone = w.Zone
		state := p.ask(ctx, w)
		if state == Serves {
			continue
		}
		if p.last.Err != nil && time.Since(p.good) > refusal { // up to the end, and it had some time
			state = Silent
		}
		return Outcome{Server: s, State: state, Last: p.last, Unreachable: IsUnreachable(p.last.Err)}
	}
	return Outcome{Server: s, State: Serves}
}

// poll is one server that is being asked.
type poll struct {
	client *Client
	of     polled
	conn   net.Conn      // nil where there is only TCP
	zone   record.Name   // of what is asked for
	good   time.Time     // when the last good answer came, or the asking began
	rtt    time.Duration // the last; 0: not known
	last   Answer
	large  bool // it came over TCP
}

// ask asks for one RRset. All of its datagrams have one id, so that a late answer counts.
func (p *poll) ask(ctx context.Context, w Wanted) State {
	question := w.Question.message()
	wire, err := question.Pack()
	if err != nil {
		p.last.Err = err
		return Lags
	}
	pause, again := firstPause, resend
	for ctx.Err() == nil {
		sent, wait := time.Now(), max(2*p.rtt, again)
		err := p.askUDP(ctx, question, w.Question, wire, sent.Add(wait))
		if err != nil && p.client.AlsoTCP {
			err = p.askTCP(ctx, w.Question)
		}
		switch {
		case err == nil && w.Has(p.last):
			p.good = time.Now()
			return Serves
		case err == nil && p.isGood():
			p.good, p.rtt, again = time.Now(), time.Since(sent), resend
		case err != nil && ctx.Err() == nil && !IsTimeout(err):
			p.last = Answer{Question: w.Question, Err: err}
			if time.Since(p.good) > refusal && errors.Is(err, syscall.ECONNREFUSED) || IsUnreachable(err) {
				return Silent
			}
		default:
			again = min(2*again, silence/2)
		}
		if time.Since(p.good) > silence && !p.hasZone(ctx) {
			return Silent
		}
		next := max(pause, p.rtt, p.client.polls.pause(p.of))
		if p.large {
			next = max(next, tcpPause)
		}
		if !Sleep(ctx, next-time.Since(sent)) {
			break
		}
		pause = min(time.Duration(float64(pause)*growth), mostPause)
	}
	return Lags
}

// askUDP sends a datagram and reads the answer into last, until a time. What is not the answer
// is skipped.
func (p *poll) askUDP(ctx context.Context, question *dns.Msg, q Question, wire []byte, until time.Time) error {
	if p.conn == nil {
		return net.ErrClosed
	}
	if _, err := p.conn.Write(wire); err != nil {
		return err
	}
	if err := p.conn.SetReadDeadline(until); err != nil {
		return err
	}
	if ctx.Err() != nil { // its end may have come before the deadline was set
		return ctx.Err()
	}
	var buf [payload]byte
	for {
		n, err := p.conn.Read(buf[:])
		if err != nil {
			return err
		}
		var m dns.Msg
		if m.Unpack(buf[:n]) != nil || !isTo(&m, question) {
			continue
		}
		if p.last, p.large = newAnswer(q, &m), false; m.Truncated {
			return p.askTCP(ctx, q)
		}
		return nil
	}
}

// askTCP asks over TCP, where that may be. That it cannot may be because there is no port or no room on this
// machine, so it says no more than that there is no answer yet.
func (p *poll) askTCP(ctx context.Context, q Question) error {
	if !p.client.polls.mayConnect(p.of.server, time.Now()) {
		return os.ErrDeadlineExceeded // the next time, perhaps
	}
	answer := p.client.AskOver(ctx, "tcp", p.of.server.String(), q)
	if answer.Err != nil {
		return os.ErrDeadlineExceeded
	}
	p.last, p.large = answer, true
	return nil
}

// hasZone reports whether a server that did answer, though not well, has the zone all the same: what
// it says of one name, which clients may have brought about, does not make it silent.
func (p *poll) hasZone(ctx context.Context) bool {
	if p.last.Err != nil || p.zone == "" {
		return false
	}
	soa := p.client.AskOver(ctx, "udp", p.of.server.String(), Question{Name: p.zone, Type: dns.TypeSOA})
	// Where the time is over, whether it has the zone is not known, and the connection's deadline may
	// have come before that of ctx.
	deadline, limited := ctx.Deadline()
	if soa.SOA() == nil && ctx.Err() == nil && !(limited && IsTimeout(soa.Err) && !time.Now().Before(deadline)) {
		return false
	}
	p.good = time.Now()
	return true
}

// isGood reports whether the last answer is one of a server that has the zone. Resolvers pass
// over others.
func (p *poll) isGood() bool {
	if p.last.Failed() || p.last.Authoritative {
		return !p.last.Failed()
	}
	cut := p.last.Referral()
	return cut != "" && p.zone != "" && cut != p.zone && cut.In(p.zone)
}

// polled is a server that is asked under the name of a client.
type polled struct {
	server netip.AddrPort
	client string
}

// polls counts the servers that are being asked, by all who wait.
type polls struct {
	mu    sync.Mutex
	at    map[polled]int
	slots chan struct{}
	// connected is when a connection to a server was last made, of those that were asked lately.
	connected map[netip.AddrPort]time.Time
}

// begin waits until there is room for another one. It returns false if ctx ends before.
func (p *polls) begin(ctx context.Context, of polled) bool {
	p.mu.Lock()
	if p.at == nil {
		p.at, p.slots = make(map[polled]int), make(chan struct{}, mostPolls)
		p.connected = make(map[netip.AddrPort]time.Time)
	}
	p.mu.Unlock()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil {
		<-p.slots
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[of]++
	return true
}

func (p *polls) end(of polled) {
	<-p.slots
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at[of]--; p.at[of] == 0 {
		delete(p.at, of)
	}
}

// pause returns the least time between two datagrams of one poll.
func (p *polls) pause(of polled) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.at[of]) * serverPause
}

// mayConnect reports whether a connection to a server may be made, which then counts.
func (p *polls) mayConnect(server netip.AddrPort, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.connected[server]) < connectionPause {
		return false
	}
	const many = 1000 // more than connectionPause lets one client be at
	if len(p.connected) >= many {
		maps.DeleteFunc(p.connected, func(_ netip.AddrPort, at time.Time) bool { return now.Sub(at) >= connectionPause })
	}
	p.connected[server] = now
	return true
}
