package nsquery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Port is where name servers answer.
const Port = 53

// Server is a name server at one of its addresses.
type Server struct {
	Name record.Name
	// Address is not valid where the name has none.
	Address netip.AddrPort
}

// At returns a server at an address, where all the world asks it.
func At(name record.Name, address netip.Addr) Server {
	return Server{name, netip.AddrPortFrom(address, Port)}
}

// Addr returns the address without the port.
func (s Server) Addr() netip.Addr { return s.Address.Addr() }

// AddressText returns an address as people write it: with its port if that is not the one at which
// all the world asks.
func AddressText(address netip.AddrPort) string {
	if address.Port() == Port {
		return address.Addr().String()
	}
	return address.String()
}

func (s Server) String() string {
	if s.Name == "" {
		return AddressText(s.Address)
	}
	return fmt.Sprintf("%s (%s)", s.Name.Plain(), s.Addr())
}

// ErrNoAddress is the answer of a server of which no address is known.
var ErrNoAddress = errors.New("no address found")

// Servers returns the servers of some names, each address by itself, in the order of names,
// at most mostServers. A name without an address is in it too. addresses is called for several
// names at once.
func Servers(ctx context.Context, names []record.Name, addresses func(context.Context, record.Name) []netip.Addr) []Server {
	names = names[:min(len(names), mostServers)]
	found := make([][]Server, len(names))
	parallel(len(names), func(i int) {
		for _, addr := range addresses(ctx, names[i]) {
			found[i] = append(found[i], At(names[i], addr))
		}
		if found[i] == nil {
			found[i] = []Server{{Name: names[i]}}
		}
	})
	servers := slices.Concat(found...)
	return servers[:min(len(servers), mostServers)]
}

// OneEach returns each name server at one address, IPv4 where it has one.
func OneEach(servers []Server) []Server {
	var picked []Server
	for _, s := range servers {
		i := slices.IndexFunc(picked, func(p Server) bool { return p.Name == s.Name })
		if i < 0 {
			picked = append(picked, s)
		} else if s.Addr().Is4() && !picked[i].Addr().Is4() {
			picked[i] = s
		}
	}
	return picked
}

// AskAll asks all servers, several at once, and returns their answers in that order.
func (c *Client) AskAll(ctx context.Context, servers []Server, q Question) []Answer {
	return askAll(servers, q, func(address string) Answer { return c.Ask(ctx, address, q) })
}

// AskAllOver is AskAll over one network, "udp" or "tcp".
func (c *Client) AskAllOver(ctx context.Context, network string, servers []Server, q Question) []Answer {
	return askAll(servers, q, func(address string) Answer { return c.AskOver(ctx, network, address, q) })
}

func askAll(servers []Server, q Question, ask func(address string) Answer) []Answer {
	answers := make([]Answer, len(servers))
	parallel(len(servers), func(i int) {
		if answers[i] = (Answer{Question: q, Err: ErrNoAddress}); servers[i].Address.IsValid() {
			answers[i] = ask(servers[i].Address.String())
		}
	})
	return answers
}

// Sleep waits, and reports whether it waited to the end of that time.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// parallel runs f for 0 to n-1, some at a time, and waits for all. It panics if one did, so
// that the caller can recover.
func parallel(n int, f func(i int)) {
	const atOnce = 16
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	panics := make(chan any, n)
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics <- p
				}
				<-slots
			}()
			f(i)
		})
	}
	running.Wait()
	if len(panics) > 0 {
		panic(<-panics)
	}
}
