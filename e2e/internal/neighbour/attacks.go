package neighbour

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// attack is what a noisy client does: a row of the table.
type attack struct {
	name   string
	rights []string // of its token
	// challengeLifetime is that of the zone, "" for the usual one.
	challengeLifetime string
	// prepare sets the stage, with the same token.
	prepare func(*Attacker)
	// loop is what connection i does until the attack ends.
	loop func(a *Attacker, i int)
	// atLeast is how long it takes to have an effect.
	atLeast time.Duration
	// long attacks are variants of others that a short test leaves out.
	long bool
	// atCaddy attacks use what Caddy's server lets anyone do, with a token or without: all
	// 250 streams of each connection of HTTP/2 at once, with a goroutine for each. They
	// are compared with what Caddy alone comes to under the same.
	atCaddy bool
}

// attackConnections is how many connections a noisy client has.
const attackConnections = 64

// Rights that attackers have.
var (
	certificatesRight = []string{"certificates www.hosted.example"}
	oneRight          = []string{"allow one.hosted.example"}
	belowRight        = []string{"allow under t.hosted.example"}
	everythingRight   = []string{"allow under hosted.example"}
)

// harmless is as many connections that ask for nothing that costs anything.
var harmless = attack{
	name:   "nothing harmful: `GET /v1/token`",
	rights: certificatesRight,
	loop: func(a *Attacker, i int) {
		a.requests(i, inTurn(httpRequest(http.MethodGet, "/v1/token", a.Noisy, nil)))
	},
}

// caddyStreams is as many requests at once as HTTP/2 has room for, which Caddy answers
// itself. It is what Caddy's server, in its own settings, lets anyone do who reaches it,
// with a token or without.
var caddyStreams = attack{
	name:   "nothing of ours: Caddy's `respond` on each of 250 HTTP/2 streams",
	rights: certificatesRight, atCaddy: true,
	loop: func(a *Attacker, i int) { a.gets(i, "/elsewhere", true) },
}

// attacks returns the rows of the table.
func attacks() []attack {
	var all []attack
	for _, subject := range [][]attack{
		connectionAttacks(), requestAttacks(), challengeAttacks(), rrsetAttacks(), nodeAttacks(), readAttacks(), questionAttacks(),
	} {
		all = append(all, subject...)
	}
	return all
}

// patching is a loop that sends the same changes again and again, in turn. Each of
// them is made once for all connections.
func patching(bodies ...func() []byte) func(a *Attacker, i int) {
	for k := range bodies {
		bodies[k] = sync.OnceValue(bodies[k])
	}
	return func(a *Attacker, i int) {
		var requests [][]byte
		for _, body := range bodies {
			requests = append(requests, patchRequest(a.Noisy, body()))
		}
		a.requests(i, inTurn(requests...))
	}
}

// toggling is a loop that adds and removes a record of each connection.
func toggling(record func(i int) string) func(a *Attacker, i int) {
	return func(a *Attacker, i int) {
		change := func(op string) []byte {
			return patchRequest(a.Noisy, changeOf(op, 1, func(int) string { return record(i) }))
		}
		a.requests(i, inTurn(change("append"), change("delete")))
	}
}

// getting is a loop that reads the same again and again.
func getting(target string) func(a *Attacker, i int) {
	return func(a *Attacker, i int) { a.requests(i, inTurn(httpRequest(http.MethodGet, target, a.Noisy, nil))) }
}

// connectionAttacks are about what is below a request.
func connectionAttacks() []attack {
	small := changeOf("append", 1, func(int) string { return txtRecord(ownChallenge, challengeValue(1)) })
	return []attack{
		{
			name: "HTTP/2: 200 bodies without end, closed after 10.0 s", rights: certificatesRight, atLeast: 12 * time.Second, long: true,
			loop: func(a *Attacker, i int) { a.unfinished(i, 200, nil, closeAfter(i)) },
		},
		{
			name: "HTTP/2: 250 bodies of 1 MiB, but for the last byte", rights: certificatesRight, atCaddy: true,
			loop: func(a *Attacker, i int) {
				a.unfinished(i, maxStreams, bytes.Repeat([]byte(" "), 1<<20-1), time.Minute)
			},
		},

		{
			name: "HTTP/2: a change, then a reset", rights: certificatesRight, atCaddy: true,
			loop: func(a *Attacker, i int) { a.changes(i, small, true) },
		},
		{
			name: "HTTP/2: a small change on each of 250 streams", rights: certificatesRight, atCaddy: true,
			loop: func(a *Attacker, i int) {
				a.changes(i, changeOf("append", 1, func(int) string { return txtRecord(ownChallenge, challengeValue(i)) }), false)
			},
		},
		{
			name: "HTTP/1.1: 20 bodies for each connection, one byte a second", rights: certificatesRight,
			loop: func(a *Attacker, i int) {
				head := patchRequest(a.Noisy, bytes.Repeat([]byte(" "), megabyte))
				times(20, func() { a.hold(i, a.API, head[:len(head)-megabyte/2], time.Second, []byte(" ")) })
			},
		},
	}
}

// closeAfter sweeps the moments at which a connection is closed around those at which
// the service gives its bodies up.
func closeAfter(i int) time.Duration {
	const from, to = 9990 * time.Millisecond, 10020 * time.Millisecond
	return from + time.Duration(i%attackConnections)*(to-from)/attackConnections
}

// times runs the same so many times at once and waits for all.
func times(n int, f func()) {
	done := make(chan struct{})
	for range n {
		go func() { f(); done <- struct{}{} }()
	}
	for range n {
		<-done
	}
}

// requestAttacks are about requests that are not carried out.
func requestAttacks() []attack {
	long := strings.Repeat("1", megabyte-200)
	record := func(fields string) func() []byte {
		return func() []byte { return []byte(`{"append":[{` + fields + `}]}`) }
	}
	return []attack{
		{
			name: "a TTL of a million digits", rights: certificatesRight,
			loop: patching(record(`"name":"_acme-challenge.www","type":"TXT","data":"x","ttl":` + long)),
		},
		{
			name: "an unknown key of a megabyte", rights: certificatesRight, long: true,
			loop: patching(record(`"` + long + `":"x"`)),
		},
		{
			name: "a name of a megabyte", rights: certificatesRight, long: true,
			loop: patching(record(`"type":"TXT","data":"x","name":"` + long + `"`)),
		},
		{
			name: "a type of a megabyte", rights: certificatesRight, long: true,
			loop: patching(record(`"name":"_acme-challenge.www","data":"x","type":"` + long + `"`)),
		},
		{
			name: "data of a megabyte", rights: oneRight, long: true,
			loop: patching(record(`"name":"one","type":"CAA","data":"` + long + `"`)),
		},

		{
			name: "350,000 empty objects", rights: certificatesRight,
			loop: patching(func() []byte { return changeOf("append", megabyte/3, func(int) string { return "{}" }) }),
		},
		{
			name: "a body in chunks of a byte", rights: certificatesRight, long: true,
			loop: func(a *Attacker, i int) {
				head := fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n", recordsPath, a.Noisy)
				a.requests(i, inTurn([]byte(head+strings.Repeat("1\r\n \r\n", megabyte/2)+"0\r\n\r\n")))
			},
		},
		{
			name: "a body of escapes", rights: certificatesRight, long: true,
			loop: patching(record(`"name":"_acme-challenge.www","type":"TXT","data":"` + strings.Repeat(`\u00e9`, (megabyte-200)/6) + `"`)),
		},
		{
			name: "refusals: 403, with 1,000 long names", rights: certificatesRight,
			loop: patching(func() []byte {
				return changeOf("append", 1000, func(i int) string {
					return txtRecord(fmt.Sprintf("%s%d", strings.Repeat(strings.Repeat(`\000`, 40)+".", 3), i), "x")
				})
			}),
		},
		{
			name: "refusals: 403", rights: certificatesRight, long: true,
			loop: patching(func() []byte { return changeOf("append", 1, func(int) string { return txtRecord("one", "x") }) }),
		},
		{
			name: "refusals: 401", rights: certificatesRight, long: true,
			loop: func(a *Attacker, i int) {
				a.requests(i, inTurn(httpRequest(http.MethodGet, recordsPath, "bestdns_wrong", nil)))
			},
		},
		{
			name: "changes of nothing", rights: certificatesRight, long: true,
			loop: patching(func() []byte { return []byte(`{"append":[]}`) }),
		},
	}
}

// challengeAttacks are about what the narrowest right lets a client write.
func challengeAttacks() []attack {
	fill := func(a *Attacker, i int) {
		a.requests(i, func(k int) []byte {
			first := (k*(attackConnections+1) + i) * 1000
			return patchRequest(a.Noisy, changeOf("append", 1000, func(j int) string { return accountRecord(first + j) }))
		})
	}
	full := func(a *Attacker) {
		a.fill(1100, 1000, func(i int) string { return txtRecord(ownChallenge, challengeValue(i)) })
	}
	absent := sync.OnceValue(func() []byte {
		return changeOf("delete", 1000, func(i int) string { return txtRecord(ownChallenge, challengeValue(1_000_000+i)) })
	})
	return []attack{
		{name: "account labels: 1,000 new ones in each change", rights: certificatesRight, loop: fill},
		{name: "account labels, with a challenge_lifetime of 1 s", rights: certificatesRight, challengeLifetime: "1s", loop: fill},
		{name: "account labels, then the page", rights: certificatesRight, prepare: manyAccounts, loop: getting("/")},
		{name: "account labels, then the records", rights: certificatesRight, long: true, prepare: manyAccounts, loop: getting(recordsPath)},
		{
			name: "account labels, then the page on 250 HTTP/2 streams, not read", rights: certificatesRight, atCaddy: true, prepare: manyAccounts,
			loop: func(a *Attacker, i int) { a.gets(i, "/", false) },
		},
		{
			name: "account labels, then the records on 250 HTTP/2 streams, not read", rights: certificatesRight, atCaddy: true, prepare: manyAccounts,
			loop: func(a *Attacker, i int) { a.gets(i, recordsPath, false) },
		},
		{
			name: "account labels, then the records, not read, while others are written", rights: certificatesRight, prepare: manyAccounts,
			loop: func(a *Attacker, i int) {
				if i%8 == 0 {
					fill(a, i)
					return
				}
				a.hold(i, a.API, httpRequest(http.MethodGet, recordsPath, a.Noisy, nil), 12*time.Second, nil)
			},
		},
		{name: "1,000 deletes of absent values", rights: certificatesRight, long: true, prepare: full, loop: patching(absent)},
		{
			name: "1,000 deletes of absent values on each of 250 HTTP/2 streams", rights: certificatesRight, atCaddy: true, prepare: full,
			loop: func(a *Attacker, i int) { a.changes(i, absent(), false) },
		},
		{
			name: "renewal of 1,000 challenges", rights: certificatesRight, prepare: full,
			loop: patching(func() []byte {
				return changeOf("append", 1000, func(i int) string { return txtRecord(ownChallenge, challengeValue(i)) })
			}),
		},
		{
			name: "one challenge, added and removed", rights: certificatesRight,
			loop: toggling(func(i int) string { return txtRecord(ownChallenge, challengeValue(i)) }),
		},
	}
}

// manyAccounts writes challenges of 100,000 accounts, as far as it is let, beside
// those that attacks write.
func manyAccounts(a *Attacker) {
	const first = 1 << 40
	a.fill(100_000, 1000, func(i int) string { return accountRecord(first + i) })
}
