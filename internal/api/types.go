// Package api is the wire between client and service: the types of requests
// and answers, problem details, the token format, and the HTTP client.
// openapi.yaml in this folder defines the same for all others.
package api

import "time"

// Limits of one request. The service refuses what exceeds them with status 413.
const (
	// MaxBodyBytes is the size of a request's body at most.
	MaxBodyBytes = 1 << 20
	// MaxRecords is the number of records in one change at most.
	MaxRecords = 1000
)

// Record is one resource record, or in a delete the description of some.
//
// It has libdns' meaning with one difference: what is absent is absent, so that
// a TTL of zero and an empty text can be said.
type Record struct {
	// Name is the owner name relative to the zone of the request, "@" for its
	// apex, in presentation format (RFC 1035 §5.1); with a final dot it is
	// absolute.
	Name string `json:"name"`
	// Type is the mnemonic ("TXT") or its RFC 3597 form ("TYPE65280").
	// Absent in a delete: any.
	Type string `json:"type,omitempty"`
	// TTL is in seconds. Absent: the zone's default, which is 0 for answers to challenges
	// in built-in zones; in a delete: any.
	TTL *int64 `json:"ttl,omitempty"`
	// Data is the RDATA in presentation format, names in it absolute; for TXT
	// it is the text itself without quotes or escapes. Text that is not UTF-8
	// travels as type TYPE16 in the form of RFC 3597 §5. Absent in a delete: any.
	Data *string `json:"data,omitempty"`
}

// Change is the body of a PATCH. Exactly one of its fields is given.
type Change struct {
	Append []Record `json:"append,omitempty"`
	Set    []Record `json:"set,omitempty"`
	Delete []Record `json:"delete,omitempty"`
}

// Records is the answer to a GET of records and to a PATCH.
type Records struct {
	// Records are those found, appended, set or deleted; names are relative to
	// the zone of the request, whatever zone they are in.
	Records []Record `json:"records"`
	// CNAMEs must exist for the records of this change to be found. They are
	// listed when a record went to the target of a CNAME in a zone that this
	// service does not host.
	CNAMEs []CNAME `json:"cnames,omitempty"`
	// Silenced are the names that this change has taken from a wildcard (RFC 4592). They
	// are listed for built-in zones.
	Silenced []Silenced `json:"silenced,omitempty"`
	// Wait is about an append or set.
	Wait
}

// Wait is how the wait ended until the name servers of a zone have a change, and the answer to
// a POST that waits once more. A name server is written as "ns2.example.net 192.0.2.2".
type Wait struct {
	// Pending are the name servers of the zone that answer and did not have the change when the
	// time to wait for them was over.
	Pending []string `json:"pending,omitempty"`
	// Silent are those that did not answer, and were not waited for.
	Silent []string `json:"silent,omitempty"`
}

// Silenced is a name for which a wildcard no longer answers, since there is now a record at
// it or below it. Both names are absolute.
type Silenced struct {
	Name     string `json:"name"`
	Wildcard string `json:"wildcard"`
}

// CNAME is a record that the user has to create once, where the domain is hosted.
// Both names are absolute.
type CNAME struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}

// Zones is the answer to GET /v1/zones.
type Zones struct {
	Zones []Zone `json:"zones"`
}

// Zone is a zone in which the caller may do something.
type Zone struct {
	// Name is absolute, with its final dot.
	Name string `json:"name"`
}

// Token is the answer to GET /v1/token: what the caller may do.
type Token struct {
	// Client is the name that the configuration gives the caller.
	Client string `json:"client"`
	// Description is what the configuration says of the caller to people. May be empty.
	Description string `json:"description,omitempty"`
	// Rights are in the grammar of the configuration: a verb (certificates,
	// allow, read), then "[under] NAME [TYPE…]"; or watch, which is about the page alone.
	Rights []string `json:"rights"`
	// ClientIP are the networks from which the token is accepted. Empty: any.
	ClientIP []string `json:"client_ip,omitempty"`
	// Expires is the last moment at which the token is accepted (RFC 3339).
	// Empty: it does not expire.
	Expires string `json:"expires,omitempty"`
}

// ExpiryNotice is how long before a client's access ends that is announced: in the log, on
// the page, and by a check.
const ExpiryNotice = 14 * 24 * time.Hour

// Health is the answer to GET /v1/health.
type Health struct {
	// Status is "ok".
	Status string `json:"status"`
}
