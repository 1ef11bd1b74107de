package nameserver

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Answers over UDP go to where the query says it is from. So that no one can have
// this server flood another host, each network, a /24 of IPv4 or a /56 of IPv6
// addresses, gets so many answers in a second, and as many more that are cut short:
// those say to come again over TCP, which no one can in another's name, and are no
// longer than their query. What is beyond both gets no answer.
//
// (BIND, Knot and NSD cut short each, or each second, of the answers over the limit,
// however many. That leaves a real client of a network that is being flooded a
// better chance, and has the flood go on at its own rate. Here what a network gets
// has an upper bound.)
//
// Loopback addresses are charged like others and never limited: no one can send in
// their name from outside, and who measures on one machine measures with the cost
// of limiting, but not its effect.

// DefaultRateLimit is how many answers in a second a network gets unless a configuration says
// otherwise. Authoritative servers usually have it so.
const DefaultRateLimit = 200

// verdict is what a query over UDP gets.
type verdict uint8

const (
	answerIt verdict = iota
	cutShort
	dropIt
)

// accounts is how many networks have an account. Networks are spread over them by a
// hash that no one else can compute, and those that come to the same one share it,
// so that the memory is bounded, a megabyte, without evicting any.
const accounts = 1 << 16

// limiter limits the answers over UDP to each network. It takes no lock.
type limiter struct {
	seed     maphash.Seed
	began    time.Time
	accounts [accounts]account

	truncated, dropped atomic.Uint64
}

// account is when, in nanoseconds since the limiter began, a network will have paid
// for the answers that it got, and for those cut short, at the rate allowed. A
// second ahead is all the credit that there is.
type account struct{ answers, cuts atomic.Int64 }

const credit = int64(time.Second)

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed(), began: time.Now()} }

// since returns a time in the accounts' measure.
func (l *limiter) since(now time.Time) int64 { return int64(now.Sub(l.began)) }

// charge charges the network of an address for an answer. price is how many
// nanoseconds one costs, 0 for nothing.
func (l *limiter) charge(from netip.Addr, now, price int64) verdict {
	if price == 0 {
		return answerIt
	}
	a := &l.accounts[l.account(from)]
	switch {
	case spend(&a.answers, now, price), from.IsLoopback():
		return answerIt
	case spend(&a.cuts, now, price):
		l.truncated.Add(1)
		return cutShort
	}
	l.dropped.Add(1)
	return dropIt
}

// spend adds a price to an account, if there is the credit for it.
func spend(account *atomic.Int64, now, price int64) bool {
	for {
		before := account.Load()
		after := max(before, now) + price
		if after-now > credit {
			return false
		}
		if account.CompareAndSwap(before, after) {
			return true
		}
	}
}

// account returns the number of the account of an address' network.
func (l *limiter) account(from netip.Addr) uint64 {
	const v4, v6 = 24 / 8, 56 / 8
	from = from.Unmap()
	if from.Is4() {
		octets := from.As4()
		return maphash.Bytes(l.seed, octets[:v4]) % accounts
	}
	octets := from.As16()
	return maphash.Bytes(l.seed, octets[:v6]) % accounts
}

// price returns what an answer costs at a rate per second, 0 for no limit.
func price(rate int) int64 {
	if rate <= 0 {
		return 0
	}
	return max(credit/int64(rate), 1)
}
