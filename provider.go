// Package bestdns manages the records of DNS zones, and those of ACME DNS-01
// challenges first of all, through a BestDNS service. It is a provider for
// [libdns], the Caddy module dns.providers.bestdns, and a DNS provider for lego.
//
// Give [Provider] to certmagic or any other user of libdns:
//
//	solver := &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
//		DNSProvider:        &bestdns.Provider{Endpoint: "https://dns.example.net", APIToken: token},
//		PropagationTimeout: -1,
//	}}
//
// Give what [NewDNSProvider] returns to lego:
//
//	provider, err := bestdns.NewDNSProvider() // BESTDNS_API_TOKEN, BESTDNS_ENDPOINT
//	err = client.Challenge.SetDNS01Provider(provider)
//
// That is for lego v4. For v5, the module github.com/caddy-dns/bestdns/lego5 has the same.
//
// AppendRecords returns when the record is live, so no one needs to wait for its
// propagation: that is what the timeout of -1 is for.
//
// # Waiting
//
// An append or set returns when all name servers of the zone that answer have the
// records: the service asks them. One that does not answer is not waited for. The wait
// ends after two minutes, or when the context ends. That some servers still lag then is
// not an error: the records are written, and a CA may well ask another server. Caddy's log
// names these servers; outside of Caddy, the service's page and `caddy bestdns check` do.
//
// The service answers after eight seconds of waiting at most, and a second before the
// context's deadline. Until then the client does not know that the records are written, so
// that a context that is cancelled ends the call with an error. Deletes do not wait.
//
// # Zones
//
// The zone of a call is a hint. The service looks for the longest zone that it
// hosts and that holds the record, and it alone decides where a challenge of a
// domain hosted elsewhere goes and what a token may do. Names are sent as they
// are given, and come back relative to the zone of the call.
//
// # Records
//
// Every record comes back as the type that libdns has for it. One that does not
// parse comes back as [libdns.RR], and does no harm to the others. A TTL of zero
// is the default of the zone, which is zero for answers to challenges where the
// service's own name server has it; in DeleteRecords it is any. A TTL above zero and
// below a second is zero. Text may have any bytes and any length that a record can hold. An empty
// text can be appended, but in DeleteRecords it means any text, as libdns has it.
//
// # Errors
//
// A method that fails returns an [*Error]. Its field Unchanged is true only if
// the zone is guaranteed unchanged. When the outcome of an append is unknown, those
// of its records that answer challenges (TXT of 43 base64url characters) are deleted
// again within five seconds: a caller such as certmagic forgets a record whose append
// failed and would not delete it. Other records may be there or not.
//
// # Retries
//
// Each call is one HTTP request, unless name servers lag. It is repeated within a few seconds
// where it failed in a way that may pass, until its context ends. A repeat changes
// nothing that the first try has done already, but a repeated delete may report
// fewer records than went away.
//
// # Several copies
//
// Endpoint may name several copies of a service, in the order in which they are tried.
// Where one does not answer, or answers with a failure that another may not have, the call
// goes on to the next at once; a change whose outcome is unknown is made again there.
// Further calls begin with the copy that last worked. After a minute one of them tries
// the first copy again, and if that works, all use it.
//
// # Secrets
//
// The token is sent to the endpoints alone, over HTTPS or over HTTP to a loopback
// address, and never to where a redirect points. It is in no error, and in nothing
// that package fmt makes of a [Provider].
//
// [libdns]: https://github.com/libdns/libdns
package bestdns

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/owed"
	"github.com/caddy-dns/bestdns/internal/text"
)

// Service is what [Provider] does, and what answers it: the service itself
// where it runs in the same Caddy, its HTTP API elsewhere.
type Service interface {
	libdns.RecordGetter
	libdns.RecordAppender
	libdns.RecordSetter
	libdns.RecordDeleter
	libdns.ZoneLister
}

// Provider manages DNS records through a BestDNS service.
//
// Without a token and an endpoint, it uses the app `bestdns` of the same Caddy,
// with no HTTP between them. Otherwise it needs both, or a TLS client certificate
// instead of the token.
//
// A Provider is used by its address, is safe for concurrent use, and keeps its
// connections: make one and share it. What its fields are at the first call
// holds for all further ones.
type Provider struct {
	// The token that the service gave to this client. It begins with
	// `bestdns_`. In Caddy it may be a placeholder, such as
	// `{env.BESTDNS_API_TOKEN}` or `{file./run/secrets/bestdns}`, which keeps it
	// out of the configuration.
	APIToken string `json:"api_token,omitempty"`

	// The URL of the service, such as `https://dns.example.net`. It may have a
	// path in front of the API's own. Plain HTTP is accepted to loopback
	// addresses only. The URLs of several copies of the service are separated by
	// blanks: one that does not answer is skipped, for up to a minute. In Caddy
	// it may have placeholders.
	Endpoint string `json:"endpoint,omitempty"`

	// PEM files with the CA certificates that the endpoint's certificate is
	// verified with. The default is the system's. In Caddy the names of the files
	// may have placeholders.
	TrustedRoots []string `json:"trusted_roots,omitempty"`

	// The PEM files of a TLS client certificate and of its key, by which the service
	// knows this client without a token. They are read at each connection, so that a
	// renewed certificate is used as soon as it is there. In Caddy the names of the
	// files may have placeholders.
	ClientCertificate string `json:"client_certificate,omitempty"`
	ClientKey         string `json:"client_key,omitempty"`

	redacted

	once    sync.Once // guards what follows
	service Service
	// owes has what is to be deleted again; in Caddy, when the process ends too.
	owes *owed.Book
	err  error
}

// connect returns what answers the calls, and makes it at the first one.
func (p *Provider) connect() (Service, error) {
	p.once.Do(func() {
		p.owes = new(owed.Book)
		r, err := newRemote(settings{
			endpoint: p.Endpoint, token: p.APIToken, roots: p.TrustedRoots, cert: p.ClientCertificate, key: p.ClientKey,
		})
		if err != nil {
			p.err = &Error{Detail: err.Error(), Unchanged: true, Err: err}
			return
		}
		p.service = r
	})
	return p.service, p.err
}

// settings are a provider's fields with their placeholders resolved.
type settings struct {
	endpoint, token string
	tokenSource     string   // as in [api.Identity]
	roots           []string // files
	cert, key       string   // files
}

// newRemote returns the service at the endpoint. The errors name no secret.
func newRemote(set settings) (*remote, error) {
	id := api.Identity{Token: set.token, TokenSource: set.tokenSource}
	known := set.token != "" || set.cert != ""
	switch {
	case set.endpoint == "" && !known:
		return nil, errors.New("no endpoint and no API token are set: both are needed outside of the Caddy that runs the service")
	case set.endpoint == "":
		return nil, errors.New("an API token or client certificate is set, but no endpoint: set it to the URL of the service")
	case !known:
		return nil, errors.New("an endpoint is set, but no API token: `caddy bestdns token` makes one for the service")
	case (set.cert == "") != (set.key == ""):
		return nil, errors.New("a client certificate and its key are needed together")
	}
	if set.cert != "" {
		id.Certificate = api.CertificateIn(set.cert, set.key)
		if _, err := id.Certificate(nil); err != nil { // better said now than at the first call
			return nil, err
		}
	}
	roots, err := api.ReadRoots(set.roots)
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(set.endpoint, id, roots)
	if err != nil {
		return nil, err
	}
	return &remote{client: client}, nil
}

// redacted keeps what embeds it out of all that package fmt prints. Its method
// is promoted to the value and to the pointer alike, so that a copy does not print
// its token either.
type redacted struct{}

// Format writes that there is something of this package.
func (redacted) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "bestdns{…}")
}

// Error is a call that failed.
type Error struct {
	// Type is a URN that names the kind of problem, such as
	// "urn:bestdns:forbidden", and Title says in words what it is. The kinds are
	// listed in the definition of the API. Type is empty where the service did not
	// answer.
	Type, Title string
	// Detail says what went wrong here and what to do about it.
	Detail string
	// Status is the HTTP status of the answer, 0 without one.
	Status int
	// RequestID is in the service's audit log too.
	RequestID string
	// Unchanged is true only if the zone is guaranteed to be as it was before the call.
	Unchanged bool
	// Err is the cause, where there is one: the end of a context, or what the
	// network reported.
	Err error

	doing string // what was being done, to which records and zone
}

// mostOfError is how many bytes of an error are told: servers say a part of it.
const mostOfError = 4000

// Error says what was being done, what went wrong and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if e.doing != "" {
		b.WriteString(e.doing + ": ")
	}
	switch {
	case e.Detail != "":
		b.WriteString(e.Detail)
	case e.Title != "":
		b.WriteString(e.Title)
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString("it failed")
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return text.Brief(b.String(), mostOfError)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
