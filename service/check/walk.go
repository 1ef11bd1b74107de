package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/miekg/dns"
)

// walker finds zones and their name servers, beginning at a resolver.
type walker struct {
	dial      Dialer
	resolvers []string
}

// lookup asks the resolver. An answer that there is nothing is an answer.
func (w *walker) lookup(ctx context.Context, name string, typ uint16) (*dns.Msg, error) {
	return w.resolve(ctx, query{name: name, typ: typ, recurse: true})
}

func (w *walker) resolve(ctx context.Context, q query) (*dns.Msg, error) {
	var errs []error
	for _, resolver := range w.resolvers {
		answer, err := w.dial.ask(ctx, resolver, q)
		if err != nil {
			errs = append(errs, fmt.Errorf("resolver %s: %s: %s", resolver, q, reason(err)))
			continue
		}
		return answer, nil
	}
	return nil, errors.Join(errs...)
}

// found returns the answer to a look-up that has to come out: it exists or it does not.
func (w *walker) found(ctx context.Context, name string, typ uint16) (*dns.Msg, error) {
	answer, err := w.lookup(ctx, name, typ)
	if err != nil {
		return nil, err
	}
	if isFailure(answer) {
		return nil, fmt.Errorf("the resolver answers %s for %s %s", rcode(answer), plain(name), dns.TypeToString[typ])
	}
	return answer, nil
}

// errNoZone: the resolver knows no zone above a name.
var errNoZone = errors.New("the resolver shows no zone above it")

// zoneOf returns the zone that holds name: the first above it, or at it, with a
// SOA record.
func (w *walker) zoneOf(ctx context.Context, name string) (apex string, err error) {
	for at := dns.CanonicalName(name); ; at = parentOf(at) {
		answer, err := w.found(ctx, at, dns.TypeSOA)
		if err != nil {
			return "", err
		}
		if owner := soaOwner(answer, at); owner != "" {
			return owner, nil
		}
		if at == "." {
			return "", errNoZone
		}
	}
}

// brokenZone returns the zone that holds name where the resolver fails below it:
// the servers of the last zone that it can find say to whom they delegate.
func (w *walker) brokenZone(ctx context.Context, name string) (apex string, err error) {
	for at := parentOf(name); at != "."; at = parentOf(at) {
		above, err := w.zoneOf(ctx, at)
		if err != nil {
			continue
		}
		servers, err := w.nameServers(ctx, above)
		if err != nil {
			return "", err
		}
		for _, s := range oneEach(servers) {
			answer, err := w.dial.ask(ctx, s.address(), query{name: name, typ: dns.TypeSOA})
			if err != nil {
				continue
			}
			for _, rr := range answer.Ns {
				cut := dns.CanonicalName(rr.Header().Name)
				if rr.Header().Rrtype == dns.TypeNS && cut != above && dns.IsSubDomain(cut, name) {
					return cut, nil
				}
			}
		}
		return "", fmt.Errorf("the servers of %s delegate nothing above %s", plain(above), plain(name))
	}
	return "", errNoZone
}

// soaOwner returns the zone that an answer about name shows, "" if it shows none.
// An alias shows the zone of its target.
func soaOwner(answer *dns.Msg, name string) string {
	for _, rr := range slices.Concat(answer.Answer, answer.Ns) {
		owner := dns.CanonicalName(rr.Header().Name)
		switch rr.Header().Rrtype {
		case dns.TypeCNAME, dns.TypeDNAME:
			return ""
		case dns.TypeSOA:
			if dns.IsSubDomain(owner, name) {
				return owner
			}
		}
	}
	return ""
}

// exists reports whether the resolver knows of a name, or of any below it.
func (w *walker) exists(ctx context.Context, name string) bool {
	answer, err := w.found(ctx, name, dns.TypeSOA)
	return err == nil && answer.Rcode == dns.RcodeSuccess
}

func parentOf(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}

// nameServers returns the name servers of a zone as the resolver has them.
func (w *walker) nameServers(ctx context.Context, apex string) ([]server, error) {
	answer, err := w.found(ctx, apex, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	names := targetsOf(answer.Answer, apex)
	if len(names) == 0 {
		return nil, fmt.Errorf("the resolver shows no NS records of %s", plain(apex))
	}
	return w.serversOf(ctx, names), nil
}

// serversOf looks up the addresses of name servers. Those without one are left out.
func (w *walker) serversOf(ctx context.Context, names []string) []server {
	found := make([][]server, len(names))
	inParallel(len(names), func(i int) {
		for _, addr := range w.addresses(ctx, names[i]) {
			found[i] = append(found[i], server{names[i], addr})
		}
	})
	return slices.Concat(found...)
}

// addresses looks up a name server's addresses, IPv4 first.
func (w *walker) addresses(ctx context.Context, name string) []netip.Addr {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	found := make([][]netip.Addr, len(types))
	inParallel(len(types), func(i int) {
		if answer, err := w.found(ctx, name, types[i]); err == nil {
			for _, rr := range answer.Answer {
				if addr, ok := addressOf(rr); ok {
					found[i] = append(found[i], addr)
				}
			}
		}
	})
	return slices.Concat(found...)
}

// addressOf returns the address in an A or AAAA record.
func addressOf(rr dns.RR) (addr netip.Addr, ok bool) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return addr.Unmap(), ok
}

// targetsOf returns the sorted names in the NS records at owner.
func targetsOf(rrs []dns.RR, owner string) []string {
	var names []string
	for _, rr := range rrs {
		if ns, ok := rr.(*dns.NS); ok && dns.CanonicalName(ns.Hdr.Name) == owner {
			names = append(names, dns.CanonicalName(ns.Ns))
		}
	}
	return sorted(names)
}

// oneEach returns each name server at one address, IPv4 where it has one.
func oneEach(servers []server) []server {
	var picked []server
	for _, s := range servers {
		i := slices.IndexFunc(picked, func(p server) bool { return p.name == s.name })
		if i < 0 {
			picked = append(picked, s)
		} else if s.addr.Is4() && !picked[i].addr.Is4() {
			picked[i] = s
		}
	}
	return picked
}

// inParallel runs f for 0 to n-1, some at a time, and waits for all.
func inParallel(n int, f func(i int)) {
	const atOnce = 16
	turns := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			f(i)
		})
	}
	wg.Wait()
}

// sorted returns each value once, in order.
func sorted[T cmp.Ordered](values []T) []T {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}

// checkResolver reports whether any resolver answers: without one there is nothing
// to begin with.
func (c *checker) checkResolver(ctx context.Context) bool {
	for i, resolver := range c.Resolvers {
		if _, err := c.Dial.ask(ctx, resolver, query{name: ".", typ: dns.TypeNS, recurse: true}); err == nil {
			// One that is silent would cost its time with each question.
			c.walk.resolvers = c.Resolvers[i:]
			c.emit(Step{Name: "resolver", Status: OK, Found: fmt.Sprintf("%s answers", resolver)})
			return true
		}
	}
	if ctx.Err() != nil {
		return false
	}
	c.emit(Step{
		Name: "resolver", Status: Unknown,
		Found: fmt.Sprintf("no answer from %s", joinWords(c.Resolvers)),
		Do:    "name a resolver that this machine can reach with --resolver ADDRESS",
	})
	return false
}
