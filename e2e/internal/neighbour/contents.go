package neighbour

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// mxRecord is an MX record in JSON, of three bytes of data: as many of them as fit make
// the RRset of the most records.
func mxRecord(name string, i int) string {
	return fmt.Sprintf(`{"name":%q,"type":"MX","data":"%d ."}`, name, i)
}

// rrsetAttacks are about a full RRset.
func rrsetAttacks() []attack {
	full := func(a *Attacker) {
		a.fill(4200, 1000, func(i int) string { return mxRecord("one", i) })
	}
	deletes := func(count int, record func(i int) string) func(a *Attacker, i int) {
		return patching(func() []byte { return changeOf("delete", count, record) })
	}
	untyped := func(i int) string { return fmt.Sprintf(`{"name":"one","data":"%d absent."}`, i) }
	large := func(text string) func() []byte {
		return func() []byte {
			return changeOf("set", 15, func(k int) string { return txtRecord(fmt.Sprintf("big%d.t", k), strings.Repeat(text, 64_000)) })
		}
	}
	return []attack{
		{name: "4,200 MX: 250 deletes with data and no type", rights: oneRight, prepare: full, loop: deletes(250, untyped)},
		{name: "4,200 MX: 1,000 deletes with data and no type", rights: oneRight, prepare: full, loop: deletes(1000, untyped), long: true},
		{
			name: "4,200 MX: 1,000 deletes with a TTL and no data", rights: oneRight, long: true, prepare: full,
			loop: deletes(1000, func(i int) string { return fmt.Sprintf(`{"name":"one","type":"MX","ttl":%d}`, 100_000+i) }),
		},
		{
			name: "4,200 MX: appends of 1,000 that are there", rights: oneRight, prepare: full, long: true,
			loop: patching(func() []byte { return changeOf("append", 1000, func(i int) string { return mxRecord("one", 3000+i) }) }),
		},
		{
			name: "4,200 MX: one more, and taken out, by all", rights: oneRight,
			prepare: func(a *Attacker) {
				a.fill(4000, 1000, func(i int) string { return mxRecord("one", i) })
			},
			loop: toggling(func(i int) string { return mxRecord("one", 5000+i) }),
		},
		{
			name: "sets of 15 RRsets of 64 kB", rights: belowRight,
			loop: patching(large("a"), large("b")),
		},
	}
}

// nodeAttacks are about what a name and a zone can hold.
func nodeAttacks() []attack {
	types := func(count int) func(*Attacker) {
		return func(a *Attacker) {
			a.fill(count, 1000, func(i int) string { return genericRecord("one", firstType+i, 1) })
		}
	}
	const many = 8000
	return []attack{
		{
			name: "8,000 types at a name: one more, and taken out, by all", rights: oneRight, prepare: types(many),
			loop: toggling(func(i int) string { return genericRecord("one", firstType+many+i, 1) }),
		},
		{
			name: "30,000 types at a name: 1,000 more in each change", rights: oneRight, long: true,
			loop: func(a *Attacker, i int) {
				a.requests(i, func(k int) []byte {
					from := firstType + (k*attackConnections+i)*1000%30_000
					return patchRequest(a.Noisy, changeOf("append", 1000, func(i int) string { return genericRecord("one", from+i, 1) }))
				})
			},
		},
		{
			name: "8,000 types at a name: questions for it", rights: oneRight, prepare: types(many),
			loop: func(a *Attacker, i int) {
				a.flood(udpPace, inTurn(dnsMessage("one", dns.TypeA), dnsMessage("one", dns.TypeANY)))
			},
		},
		{
			name: "8,000 types at a name: questions for all, by TCP", rights: oneRight, prepare: types(many), long: true,
			loop: func(a *Attacker, i int) { a.tcp(i, inTurn(dnsMessage("one", dns.TypeANY))) },
		},
		{
			name: "8,000 types at a name: `GET` of one of them", rights: oneRight, long: true, prepare: types(many),
			loop: getting(recordsPath + "?name=one&type=TXT"),
		},
		{
			name: "sets of 1,000 types at a name", rights: oneRight,
			loop: func(a *Attacker, i int) {
				set := func(size int) []byte {
					return patchRequest(a.Noisy, changeOf("set", 1000, func(k int) string { return genericRecord("one", firstType+k, size) }))
				}
				a.requests(i, inTurn(set(1+i), set(101+i)))
			},
		},
		{
			name: "2,800 RRsets of 65 kB at a name", rights: oneRight,
			loop: func(a *Attacker, i int) {
				const perChange, all = 7, 2800
				head := strings.Repeat("00", 65_400)
				a.requests(i, func(k int) []byte {
					from := (k*attackConnections + i) * perChange % all
					return patchRequest(a.Noisy, changeOf("append", perChange, func(i int) string {
						return fmt.Sprintf(`{"name":"one","type":"TYPE%d","data":"\\# 65400 %s"}`, firstType+from+i, head)
					}))
				})
			},
		},
		{
			name: "200 names of 64 kB: one small record more at each, and taken out", rights: belowRight,
			prepare: func(a *Attacker) {
				a.fill(200, 15, func(i int) string { return txtRecord(fmt.Sprintf("n%d.t", i), strings.Repeat("x", 64_000)) })
			},
			loop: func(a *Attacker, i int) {
				change := func(op string) []byte {
					return patchRequest(a.Noisy, changeOf(op, 200, func(k int) string { return genericRecord(fmt.Sprintf("n%d.t", k), firstType+i, 1) }))
				}
				a.requests(i, inTurn(change("append"), change("delete")))
			},
		},
		{
			name: "names of 100 labels: 150 for each connection, and taken out", rights: belowRight,
			loop: func(a *Attacker, i int) {
				below := strings.Repeat(".a", 100) + fmt.Sprintf(".%d.t", i)
				change := func(op string) []byte {
					return patchRequest(a.Noisy, changeOf(op, 150, func(k int) string { return genericRecord(fmt.Sprintf("%d%s", k, below), firstType, 1) }))
				}
				a.requests(i, inTurn(change("append"), change("delete")))
			},
		},
		{
			name: "sets of 150 names for each connection", rights: belowRight, long: true,
			loop: func(a *Attacker, i int) {
				set := func(size int) []byte {
					return patchRequest(a.Noisy, changeOf("set", 150, func(k int) string { return genericRecord(fmt.Sprintf("%d.%d.t", k, i), firstType, size) }))
				}
				a.requests(i, inTurn(set(1), set(2)))
			},
		},
	}
}

// readAttacks are about reading what is there.
func readAttacks() []attack {
	records := func(a *Attacker) {
		a.fill(10_000, 1000, func(i int) string { return txtRecord(fmt.Sprintf("r%d.t", i), "x") })
	}
	return []attack{
		{name: "10,000 records: the page, with a token for everything", rights: everythingRight, prepare: records, loop: getting("/")},
		{name: "10,000 records: `GET` of all", rights: everythingRight, prepare: records, loop: getting(recordsPath)},
		{
			name: "10,000 records: `HEAD`", rights: everythingRight, long: true, prepare: records,
			loop: func(a *Attacker, i int) {
				a.requests(i, inTurn(httpRequest(http.MethodHead, recordsPath, a.Noisy, nil)))
			},
		},
		{name: "10,000 records: `GET` of one", rights: everythingRight, long: true, prepare: records, loop: getting(recordsPath + "?name=r5000.t&type=TXT")},
		{
			name: "10,000 records: `GET`, read one byte a second", rights: everythingRight, prepare: records,
			loop: func(a *Attacker, i int) {
				request := httpRequest(http.MethodGet, recordsPath, a.Noisy, nil)
				times(20, func() { a.sip(i, request, 1, time.Second) })
			},
		},
	}
}

// udpPace is how many questions a second each connection of an attacker asks by UDP,
// so that all of them are some 1,000 a second: far from what the service answers.
const udpPace = 16

// questionAttacks are about DNS.
func questionAttacks() []attack {
	targets := []struct {
		name, typ, data string
		code            uint16
	}{
		{"mx", "MX", "1 %s", dns.TypeMX},
		{"srv", "SRV", "1 1 1 %s", dns.TypeSRV},
		{"https", "HTTPS", "1 %s", dns.TypeHTTPS},
		{"ns", "NS", "%s", dns.TypeNS},
	}
	amplify := func(a *Attacker) {
		a.fill(2, 2, func(i int) string {
			return [...]string{`{"name":"*.t","type":"A","data":"192.0.2.1"}`, `{"name":"*.t","type":"AAAA","data":"2001:db8::1"}`}[i]
		})
		for _, target := range targets {
			a.fill(1500, 500, func(i int) string {
				host := fmt.Sprintf("%x.t.%s.", i, harness.HostedZone)
				return fmt.Sprintf(`{"name":"%s.t","type":%q,"data":%q}`, target.name, target.typ, fmt.Sprintf(target.data, host))
			})
		}
	}
	var amplified [][]byte
	for _, target := range targets {
		amplified = append(amplified, dnsMessage(target.name+".t", target.code))
	}
	large := func(a *Attacker) {
		a.fill(1, 1, func(int) string { return txtRecord("big.t", strings.Repeat("x", 64_000)) })
	}
	unread := func(perConnection int) func(a *Attacker, i int) {
		return func(a *Attacker, i int) {
			message := dnsMessage("big.t", dns.TypeTXT)
			var questions []byte
			for range 500 {
				questions = append(append(questions, byte(len(message)>>8), byte(len(message))), message...)
			}
			times(perConnection, func() { a.hold(i, a.DNS, questions, 5*time.Second, nil) })
		}
	}
	return []attack{
		{
			name: "UDP: additional data of 1,500 MX, SRV, HTTPS, NS", rights: belowRight, prepare: amplify,
			loop: func(a *Attacker, i int) { a.flood(udpPace, inTurn(clones(amplified)...)) },
		},
		{
			name: "TCP: additional data of 1,500 MX, SRV, HTTPS, NS", rights: belowRight, prepare: amplify,
			loop: func(a *Attacker, i int) { a.tcp(i, inTurn(clones(amplified)...)) },
		},
		{
			name: "UDP: a chain of 900 CNAMEs", rights: belowRight, long: true,
			prepare: func(a *Attacker) {
				a.fill(900, 900, func(i int) string {
					return fmt.Sprintf(`{"name":"c%d.t","type":"CNAME","data":"c%d.t.%s."}`, i, i+1, harness.HostedZone)
				})
			},
			loop: func(a *Attacker, i int) { a.flood(udpPace, inTurn(dnsMessage("c0.t", dns.TypeA))) },
		},
		{
			name: "UDP: 119 labels that do not exist", rights: certificatesRight, long: true,
			loop: func(a *Attacker, i int) { a.udp(inTurn(dnsMessage(strings.Repeat("a.", 118)+"a", dns.TypeA))) },
		},
		{name: "TCP: 500 questions for 64 kB each at once, not read", rights: belowRight, long: true, prepare: large, loop: unread(1)},
		{name: "TCP: the same on 1,024 connections", rights: belowRight, prepare: large, loop: unread(16)},
	}
}

// clones copies messages, which each connection gives IDs of its own.
func clones(messages [][]byte) [][]byte {
	var own [][]byte
	for _, m := range messages {
		own = append(own, append([]byte(nil), m...))
	}
	return own
}
