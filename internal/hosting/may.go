package hosting

import (
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Question is whether clients may do something at a name.
type Question struct {
	op   record.Op // zero to read
	name record.Name
	typ  record.Type
}

// aChallenge is data that a challenge could have: 43 characters of unpadded base64url (RFC 8555 §8.4).
var aChallenge = strings.Repeat("A", 43)

// NewQuestion reads a question: op is "append", "set", "delete" or "read", the type TXT if it is "".
func NewQuestion(op, name, typ string) (q Question, err error) {
	words := []string{"read", record.Append.String(), record.Set.String(), record.Delete.String()}
	for i, word := range words {
		if word != op {
			continue
		}
		q.op = record.Op(i)
		if q.name, err = record.ParseName(name); err != nil {
			return q, err
		}
		if typ == "" {
			typ = "TXT"
		}
		q.typ, err = record.ParseType(typ)
		return q, err
	}
	return q, fmt.Errorf("%q is not one of %s", op, strings.Join(words, ", "))
}

// May reports whether a client has the right to do it, in the zone that holds the name or, for a challenge of a
// domain hosted elsewhere, at the target of its CNAME.
func (s *Service) May(client *access.Client, q Question) bool {
	zone, name, err := s.place(client, q.name, q.name, q.typ)
	if err != nil {
		return false
	}
	switch q.op {
	case record.Append, record.Set:
		r := record.Record{Name: name, Type: q.typ}
		if q.typ == record.TypeTXT {
			if r, err = record.At(name, "TXT", 0, aChallenge); err != nil {
				return false
			}
		}
		ok, _ := client.MayWrite(zone.Apex, q.op, r)
		return ok
	case record.Delete:
		m := record.Match{Name: name, Type: q.typ}
		return client.MayDelete(zone.Apex, m) || client.MayDeleteOwn(zone.Apex, m)
	}
	return s.MayRead(client, zone.Apex, name)
}
