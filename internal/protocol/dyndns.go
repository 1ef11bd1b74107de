package protocol

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is dyndns2, by which routers tell their address: GET /nic/update.
//
// What its clients take for success: ddclient the first word of a line, which may be one for all
// hosts; inadyn a word anywhere in the body; OPNsense the status. So an error has both, its word and
// a status that is not 2xx.

// DynDNS is what a request wants: that hosts have these addresses.
type DynDNS struct {
	Hosts []string
	// IPv4 and IPv6 are not valid where the host's address of that family stays as it is.
	IPv4, IPv6 netip.Addr
}

// mostHosts is how many hosts a request can have, as at dyn.com.
const mostHosts = 20

// dynDNSError is an error with the word that the protocol has for it.
type dynDNSError struct{ word string }

func (e dynDNSError) Error() string { return e.word }

// ReadDynDNS reads the query of a request. caller is the address that it came from, which counts if it
// names none. The error is a *[hosting.Error].
func ReadDynDNS(query string, caller netip.Addr) (d DynDNS, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return d, dynDNSFailure(api.BadRequest, "911", "the query of the URL cannot be read: %w", err)
	}
	for _, host := range split(values["hostname"]) {
		d.Hosts = append(d.Hosts, strings.ToLower(host))
	}
	switch {
	case len(d.Hosts) == 0:
		return d, dynDNSFailure(api.BadRequest, "notfqdn", "there is no hostname")
	case len(d.Hosts) > mostHosts:
		return d, dynDNSFailure(api.BadRequest, "numhost", "%d host names, and %d are the most", len(d.Hosts), mostHosts)
	}
	for _, text := range split(append(values["myip"], values["myipv6"]...)) {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return d, dynDNSFailure(api.InvalidRecord, "dnserr", "%q is not an IP address", text)
		}
		if err := d.setAddress(address); err != nil {
			return d, err
		}
	}
	if !d.IPv4.IsValid() && !d.IPv6.IsValid() {
		if !caller.IsValid() {
			return d, dynDNSFailure(api.BadRequest, "dnserr", "there is no address, and the caller's is not known")
		}
		return d, d.setAddress(caller)
	}
	return d, nil
}

func (d *DynDNS) setAddress(address netip.Addr) error {
	family := &d.IPv6
	if address = address.Unmap().WithZone(""); address.Is4() {
		family = &d.IPv4
	}
	if family.IsValid() && *family != address {
		return dynDNSFailure(api.InvalidRecord, "dnserr", "two addresses of one family: %s and %s", *family, address)
	}
	*family = address
	return nil
}

// split takes lists apart, whose items are separated by commas and may be empty.
func split(lists []string) (items []string) {
	for _, list := range lists {
		for _, item := range strings.Split(list, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// Change returns the change that has a host have the addresses.
func (d DynDNS) Change(host string) (c hosting.Change, err error) {
	owner, err := record.ParseName(host)
	if err != nil || !owner.IsHostName() {
		return c, dynDNSFailure(api.InvalidRecord, "notfqdn", "%q is not a host name with its domain", host)
	}
	c.Zone, c.Op = owner, record.Set
	for typ, address := range d.addresses {
		r, err := record.At(owner, typ, 0, address.String())
		if err != nil {
			return c, hosting.Errorf(api.InvalidRecord, "%w", err)
		}
		r.TTL = hosting.DefaultTTL
		c.Records = append(c.Records, r)
	}
	return c, nil
}

// addresses yields the addresses that are given, each with the type of its record.
func (d DynDNS) addresses(yield func(typ string, address netip.Addr) bool) {
	if d.IPv4.IsValid() && !yield("A", d.IPv4) {
		return
	}
	if d.IPv6.IsValid() {
		yield("AAAA", d.IPv6)
	}
}

// Has reports whether a host has just these addresses already.
func (d DynDNS) Has(found []hosting.Entry) bool {
	for typ, address := range d.addresses {
		n := 0
		for _, e := range found {
			if e.Type == typ {
				n++
				if e.Data != address.String() {
					return false
				}
			}
		}
		if n != 1 {
			return false
		}
	}
	return true
}

// Addresses are the addresses as an answer has them.
func (d DynDNS) Addresses() string {
	var texts []string
	for _, address := range d.addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, ",")
}

// dynDNSFailure returns an error of a kind, with a word of the protocol.
func dynDNSFailure(kind, word, format string, args ...any) *hosting.Error {
	e := hosting.Errorf(kind, format, args...)
	e.Cause = dynDNSError{word}
	return e
}

// DynDNSWord returns the word for an error.
func DynDNSWord(e *hosting.Error) string {
	var known dynDNSError
	if errors.As(e, &known) {
		return known.word
	}
	switch kind := e.Kind(); {
	case kind == api.Unauthorized:
		return "badauth"
	case kind == api.Forbidden, kind == api.ZoneNotFound:
		return "nohost"
	case kind == api.TooManyRequests:
		return "abuse"
	case e.Status >= 500:
		return "911"
	}
	return "dnserr"
}

// WriteDynDNS answers a request with a line for each host, and the status of the first error.
func WriteDynDNS(w http.ResponseWriter, lines []string, failure *hosting.Error) {
	status := http.StatusOK
	if failure != nil {
		status = failure.Status
		if status == http.StatusUnauthorized {
			w.Header().Add("WWW-Authenticate", basicChallenge)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, strings.Join(lines, "\n"))
}
