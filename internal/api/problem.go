package api

import "strings"

// ProblemContentType is the media type of problem details (RFC 9457).
const ProblemContentType = "application/problem+json"

// Kinds of problems: the part of a problem's type after "urn:bestdns:".
// Each has one status; openapi.yaml lists them.
const (
	BadRequest       = "bad-request"        // 400: not JSON, unknown field, wrong type, no or two kinds of change
	Unauthorized     = "unauthorized"       // 401: no token, or one that is not accepted
	Forbidden        = "forbidden"          // 403: the token may not do this
	ZoneNotFound     = "zone-not-found"     // 404: not hosted, or nothing that this token may do there
	MethodNotAllowed = "method-not-allowed" // 405: the path exists, the method does not
	Conflict         = "conflict"           // 409: the zone's present contents do not allow it (CNAME beside other data)
	OverLimit        = "over-limit"         // 409: it would put more there than the client, the zone or a name may have
	TooLarge         = "too-large"          // 413: body, number of records, or what is at their names over the limit
	InvalidRecord    = "invalid-record"     // 422: an invalid name, type, TTL or value, or a rule on SOA or NS
	SeveralZones     = "several-zones"      // 422: owners of more than one zone in one request
	TooEarly         = "too-early"          // 425: a change in TLS early data
	TooManyRequests  = "too-many-requests"  // 429: too many wrong tokens from there
	Internal         = "internal"           // 500
	NotSupported     = "not-supported"      // 501: the zone's provider cannot do this
	PrimaryRefuses   = "primary-refuses"    // 502: the configuration of the zone's primary does not allow it; not to be repeated
	ProviderFailed   = "provider-failed"    // 502: the zone's provider answered with an error
	Unavailable      = "unavailable"        // 503: not now: starting, read-only, or the provider cannot be reached
	ProviderTimeout  = "provider-timeout"   // 504: no answer within the service's own deadline
	problemPrefix    = "urn:bestdns:"
)

// Problem is an error as the service answers it: problem details after RFC 9457.
type Problem struct {
	// Type is a URN, "urn:bestdns:" and one of the kinds above.
	Type string `json:"type"`
	// Title says what the type means, the same for each problem of the type.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says what went wrong here, to which name and zone, and what to do about it.
	Detail string `json:"detail,omitempty"`
	// RequestID is in the service's audit log too.
	RequestID string `json:"request_id,omitempty"`
	// Unchanged is true only if the zone is guaranteed to be as it was before the request.
	Unchanged bool `json:"unchanged"`
}

// kinds gives each kind its status and title.
var kinds = map[string]struct {
	status int
	title  string
}{
	BadRequest:       {400, "The request cannot be read"},
	Unauthorized:     {401, "The token is missing or not accepted"},
	Forbidden:        {403, "The token may not do this"},
	ZoneNotFound:     {404, "No such zone for this token"},
	MethodNotAllowed: {405, "This path does not have that method"},
	Conflict:         {409, "The zone's contents do not allow this"},
	OverLimit:        {409, "A limit of the service is reached"},
	TooLarge:         {413, "The request is too large"},
	InvalidRecord:    {422, "A record is not valid"},
	SeveralZones:     {422, "The records belong to more than one zone"},
	TooEarly:         {425, "Changes are not accepted in TLS early data"},
	TooManyRequests:  {429, "Too many wrong tokens"},
	Internal:         {500, "The service failed"},
	NotSupported:     {501, "The zone's provider cannot do this"},
	PrimaryRefuses:   {502, "The zone's primary name server refuses this"},
	ProviderFailed:   {502, "The zone's provider failed"},
	Unavailable:      {503, "The service cannot do this now"},
	ProviderTimeout:  {504, "The zone's provider did not answer in time"},
}

// NewProblem returns a problem of the given kind with its status and title.
func NewProblem(kind, detail string) *Problem {
	k, ok := kinds[kind]
	if !ok {
		kind, k = Internal, kinds[Internal]
	}
	return &Problem{Type: problemPrefix + kind, Title: k.title, Status: k.status, Detail: detail}
}

// Kind returns the part of the type after "urn:bestdns:", or "" for a foreign type.
func (p *Problem) Kind() string {
	kind, ok := strings.CutPrefix(p.Type, problemPrefix)
	if !ok {
		return ""
	}
	return kind
}

// Error returns the detail, or the title where there is none.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}
