package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
)

// Kind is what an error is about, and so who has to do something.
type Kind uint8

// The kinds of [Error].
const (
	// Busy is a change that was given up before it was sent: its caller has gone, the server
	// was busy with others for too long, or the zone was closed. It may be repeated.
	Busy Kind = iota + 1
	// Unreachable: no connection to any primary could be opened, so nothing was sent.
	Unreachable
	// Timeout: there was no answer in time. Unless [Error.Unchanged] is set, the outcome is
	// unknown.
	Timeout
	// KeyRefused: the server does not accept the key or its signature, or its own answer is
	// not rightly signed. It lasts until the configuration of one of both is changed.
	KeyRefused
	// Refused: the server's configuration does not allow it. It lasts until that is changed.
	Refused
	// Conflict: what is in the zone does not allow it.
	Conflict
	// TooLarge: the change does not fit in one message.
	TooLarge
	// Failed is all else: the server failed, closed the connection, or answered nonsense.
	Failed
)

// Error is why something was not done. Its text says what to do; it holds no secret, so that
// it may be shown to clients.
type Error struct {
	Kind Kind
	Zone record.Name
	// Server is the primary that was asked; the zero value if none was.
	Server netip.AddrPort
	// Rcode is what it answered, of the header or of TSIG (RFC 8945 §3); zero if it did not.
	Rcode int
	// Unchanged is true if the zone is guaranteed unchanged by this call.
	Unchanged bool
	// Reason is the text without the zone.
	Reason string
	// Err is the cause, nil if there is no other.
	Err error
}

// Error names the zone and says what went wrong.
func (e *Error) Error() string { return fmt.Sprintf("zone %q: %s", e.Zone.Plain(), e.Reason) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// unchanged returns a copy of an error that says that the zone is unchanged. Errors that are
// not an *[Error] have been found before anything was sent.
func unchanged(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	same := *e
	same.Unchanged = true
	return &same
}

// unknownOutcome is what errors end with after which the zone may have changed.
const unknownOutcome = "; whether the change was made is unknown"

// conflict is the error of a change that the contents of the zone do not allow.
func (z *Zone) conflict(reason string, unchanged bool) *Error {
	return &Error{Kind: Conflict, Zone: z.Zone, Unchanged: unchanged, Reason: reason}
}

func (z *Zone) busy(reason string, cause error) error {
	return &Error{Kind: Busy, Zone: z.Zone, Unchanged: true, Reason: reason + "; nothing was sent", Err: cause}
}

func (z *Zone) withdrawn(ctx context.Context) error {
	return z.busy("the change was withdrawn while it waited for its turn", context.Cause(ctx))
}

// unreachable is the error of no primary to which a connection can be opened. failures has one
// for each.
func (z *Zone) unreachable(servers []netip.AddrPort, failures []error) error {
	each := make([]string, len(failures))
	for i, err := range failures {
		each[i] = fmt.Sprintf("%s (%s)", servers[i], nsquery.Reason(err))
	}
	what := "its primary name server cannot be reached over TCP"
	if len(each) > 1 {
		what = "none of its primary name servers can be reached over TCP"
	}
	return &Error{
		Kind: Unreachable, Zone: z.Zone, Server: servers[0], Unchanged: true, Err: errors.Join(failures...),
		Reason: fmt.Sprintf("%s: %s: see whether it runs, whether the address is right, and whether a firewall is between", what, strings.Join(each, ", ")),
	}
}

// unanswered is the error of a message that may have been sent and was not answered.
func (z *Zone) unanswered(server netip.AddrPort, err error) error {
	e := &Error{Kind: Failed, Zone: z.Zone, Server: server, Err: err}
	e.Reason = fmt.Sprintf("its primary name server %s gave no answer (%s)", server, nsquery.Reason(err))
	switch {
	case nsquery.IsTimeout(err):
		e.Kind, e.Reason = Timeout, fmt.Sprintf("its primary name server %s did not answer in time: see whether it is overloaded", server)
	case isClosed(err):
		e.Reason = fmt.Sprintf("its primary name server %s closed the connection without an answer: see its log, and how many TCP connections it allows", server)
	}
	return e
}

// What a server was asked for, as errors name it.
const (
	forUpdate   = "update"
	forTransfer = "transfer"
)

// refused is the error of an answer that is not NOERROR, or not rightly signed: invalid says
// in what way, nil if it is.
func (z *Zone) refused(server netip.AddrPort, what string, answer *dns.Msg, invalid error) error {
	e := &Error{Kind: Failed, Zone: z.Zone, Server: server, Rcode: answer.Rcode, Err: invalid}
	// A refused update changes nothing (RFC 2136 §3.1 to §3.7). A server cannot sign with a
	// key that it does not accept, and not all say that it is the key.
	e.Unchanged = answer.Rcode != dns.RcodeSuccess && (invalid == nil || errors.Is(invalid, errUnsigned))
	var keyError tsigError
	switch {
	case errors.As(invalid, &keyError):
		e.Kind, e.Rcode, e.Unchanged = KeyRefused, int(keyError), true
		e.Reason = z.keyAdvice(server, what, int(keyError))
	case errors.Is(invalid, errUnsigned) && answer.Rcode == dns.RcodeRefused:
		e.Kind = KeyRefused
		e.Reason = fmt.Sprintf("its primary name server %s answers REFUSED to the %s, unsigned: see whether it has the key %s with the same secret, and allows it for the zone: %s",
			server, what, z.Key, allow(what, z.Key.Name))
	case invalid != nil && answer.Rcode == dns.RcodeSuccess:
		e.Kind = KeyRefused
		e.Reason = fmt.Sprintf("the answer of its primary name server %s is %v: see whether it has the key %s, and whether something between alters messages", server, invalid, z.Key)
		if what == forUpdate {
			e.Reason += unknownOutcome
		}
	default:
		e.Kind, e.Reason = z.rcodeAdvice(server, what, answer.Rcode)
		if what == forUpdate && !e.Unchanged {
			e.Reason += unknownOutcome
		}
	}
	return e
}

// keyAdvice says what to do about an error of TSIG.
func (z *Zone) keyAdvice(server netip.AddrPort, what string, rcode int) string {
	said := fmt.Sprintf("its primary name server %s answers %s to the key %s: ", server, nsquery.RcodeText(rcode), z.Key)
	switch rcode {
	case dns.RcodeBadKey:
		return said + "see whether it has a key of this name and algorithm, and allows it for the zone: " + allow(what, z.Key.Name)
	case dns.RcodeBadSig:
		return said + "the secret there is another than here"
	case dns.RcodeBadTime:
		return said + "the clocks there and here differ by more than five minutes"
	}
	return said + "see its log"
}

// allow says what each make of server needs for a key to be allowed something.
func allow(what string, key record.Name) string {
	if what == forTransfer {
		return fmt.Sprintf("Knot needs an acl of the zone with key %[1]s and action transfer, BIND allow-transfer { key %[1]s; }, PowerDNS TSIG-ALLOW-AXFR %[1]s", key.Plain())
	}
	return fmt.Sprintf("Knot needs an acl of the zone with key %[1]s and action update, BIND allow-update { key %[1]s; }, "+
		"PowerDNS dnsupdate=yes, allow-dnsupdate-from and TSIG-ALLOW-DNSUPDATE %[1]s", key.Plain())
}

// rcodeAdvice says what to do about a response code.
func (z *Zone) rcodeAdvice(server netip.AddrPort, what string, rcode int) (Kind, string) {
	said := fmt.Sprintf("its primary name server %s answers %s to the %s: ", server, nsquery.RcodeText(rcode), what)
	switch rcode {
	case dns.RcodeRefused:
		if z.Key.IsZero() {
			return Refused, said + "it does not allow it without a key: give one, or allow this machine's address there"
		}
		return Refused, said + "it does not allow it, or not these records: " + allow(what, z.Key.Name)
	case dns.RcodeNotAuth:
		use := fmt.Sprintf("does not take the key %s for it", z.Key)
		if z.Key.IsZero() {
			use = "takes nothing without a key"
		}
		return Refused, said + "it is not a primary of the zone, or " + use + ": see whether the zone is configured there, and not as a secondary, and which keys it allows"
	case dns.RcodeNotZone:
		return Refused, said + "a name is not in the zone there: see whether the zone is the same on both"
	case dns.RcodeNotImplemented:
		return Refused, said + "it takes no such messages: see whether this is the right server, and what it needs to be told to take them"
	case dns.RcodeYXDomain, dns.RcodeYXRrset, dns.RcodeNXRrset, dns.RcodeNameError:
		return Conflict, said + "what is in the zone does not allow the change"
	case dns.RcodeFormatError:
		return Failed, said + "it cannot read it: see its log; it may not know the type of a record"
	}
	return Failed, said + "see its log"
}
