package neighbour

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// Bodies and messages of attackers. They are made before they are sent, as far as can
// be: the attacker's own work is not what is measured.

// megabyte is about the longest body that the service reads.
const megabyte = 1<<20 - 512

// changeOf writes a change of so many records, each as record writes it.
func changeOf(op string, count int, record func(i int) string) []byte {
	body := fmt.Appendf(nil, `{"%s":[`, op)
	for i := range count {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, record(i)...)
	}
	return append(body, "]}"...)
}

// txtRecord is a TXT record in JSON.
func txtRecord(name, data string) string {
	return fmt.Sprintf(`{"name":%q,"type":"TXT","data":%q}`, name, data)
}

// genericRecord is a record of a type without a name, with so many bytes of data.
func genericRecord(name string, typ, size int) string {
	return fmt.Sprintf(`{"name":%q,"type":"TYPE%d","data":"\\# %d %s"}`, name, typ, size, strings.Repeat("00", size))
}

// firstType is the number from which on types have no names.
const firstType = 262

// challengeValue is one of many values of a challenge.
func challengeValue(i int) string {
	return fmt.Sprintf("%043d", i)
}

// ownChallenge is the name at which attackers with a right to one challenge write.
const ownChallenge = "_acme-challenge.www"

// accountRecord is the challenge of one of many accounts (dns-account-01).
func accountRecord(account int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	var label [16]byte
	for i, rest := len(label)-1, account; i >= 0; i, rest = i-1, rest/len(digits) {
		label[i] = digits[rest%len(digits)]
	}
	return txtRecord("_"+string(label[:])+"."+ownChallenge, challengeValue(0))
}

// dnsMessage is a question, with room for an answer of the largest size where it comes
// over UDP.
func dnsMessage(name string, typ uint16) []byte {
	message := new(dns.Msg).SetQuestion(name+"."+harness.HostedZone+".", typ)
	message.SetEdns0(1232, false)
	packed, err := message.Pack()
	if err != nil {
		panic(err) // the names are all here
	}
	return packed
}

// inTurn returns a function that returns the texts in turn.
func inTurn(texts ...[]byte) func(k int) []byte {
	return func(k int) []byte { return texts[k%len(texts)] }
}
