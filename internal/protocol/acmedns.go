package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// This file is the protocol of acme-dns (version 2): POST /update, POST /register, GET /health. Answers
// and errors are those of acme-dns to the byte, since clients look for some of them.

// ACMEDNSUpdate is the body of an update.
type ACMEDNSUpdate struct {
	Subdomain string `json:"subdomain"`
	Text      string `json:"txt"`
}

// ReadACMEDNSUpdate reads the body of an update.
func ReadACMEDNSUpdate(text []byte) (u ACMEDNSUpdate, err error) {
	// acme-dns ignores what follows the first value, and so does this.
	err = json.NewDecoder(bytes.NewReader(text)).Decode(&u)
	return u, err
}

// Account returns the change that an update of an account wants: a value at the account's name.
func (u ACMEDNSUpdate) Account(a *access.Account) (hosting.Change, error) { return u.at(a.Name) }

// Client returns the change that an update of a client of the configuration wants, whose subdomain is
// the domain that it wants a certificate for.
func (u ACMEDNSUpdate) Client() (hosting.Change, error) {
	domain, err := record.ParseName(strings.TrimPrefix(u.Subdomain, "*."))
	if err != nil {
		return hosting.Change{}, hosting.Errorf(api.InvalidRecord, "%w", ErrBadSubdomain)
	}
	owner, err := (record.Challenge{Domain: domain}).Owner()
	if err != nil {
		return hosting.Change{}, hosting.Errorf(api.InvalidRecord, "%w", ErrBadSubdomain)
	}
	return u.at(owner)
}

func (u ACMEDNSUpdate) at(owner record.Name) (hosting.Change, error) {
	c, err := appendText(owner, u.Text)
	if err != nil {
		return hosting.Change{}, hosting.Errorf(api.InvalidRecord, "%w", ErrBadText)
	}
	if fault := record.ChallengeValueFault(c.Records[0]); fault != "" {
		return hosting.Change{}, hosting.Errorf(api.InvalidRecord, "%w at %q: %s", ErrBadText, owner, fault)
	}
	return c, nil
}

// What is wrong with an update, for [WriteACMEDNSError].
var (
	ErrBadSubdomain = errors.New("bad_subdomain")
	ErrBadText      = errors.New("bad_txt")
	ErrBadNetwork   = errors.New("invalid_allowfrom_cidr")
	ErrBadJSON      = errors.New("malformed_json_payload")
)

// WriteACMEDNSUpdate answers an update that was made.
func WriteACMEDNSUpdate(w http.ResponseWriter, u ACMEDNSUpdate) {
	writeACMEDNS(w, http.StatusOK, []byte(`{"txt": "`+u.Text+`"}`))
}

// ReadACMEDNSRegistration reads which networks an account is to be bound to. The error is a
// *[hosting.Error].
func ReadACMEDNSRegistration(text []byte) (networks []netip.Prefix, err error) {
	var body struct {
		AllowFrom []string `json:"allowfrom"`
	}
	if len(text) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, hosting.Errorf(api.BadRequest, "%w", ErrBadJSON)
	}
	if len(body.AllowFrom) > access.MostNetworks {
		return nil, hosting.Errorf(api.BadRequest, "%w", ErrBadNetwork)
	}
	for _, text := range body.AllowFrom {
		// acme-dns takes brackets around an IPv6 address out.
		network, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(text))
		if err != nil {
			return nil, hosting.Errorf(api.BadRequest, "%w", ErrBadNetwork)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// WriteACMEDNSAccount answers a registration.
func WriteACMEDNSAccount(w http.ResponseWriter, a access.Account) {
	networks := make([]string, len(a.Networks))
	for i, network := range a.Networks {
		networks[i] = network.String()
	}
	answer, err := json.Marshal(struct {
		Username   string   `json:"username"`
		Password   string   `json:"password"`
		Fulldomain string   `json:"fulldomain"`
		Subdomain  string   `json:"subdomain"`
		Allowfrom  []string `json:"allowfrom"`
	}{a.Username, a.Password, a.Name.Plain(), a.Label, networks})
	if err != nil { // of strings
		writeACMEDNSError(w, http.StatusInternalServerError, "json_error")
		return
	}
	writeACMEDNS(w, http.StatusCreated, answer)
}

// WriteACMEDNSError answers a request with an error as acme-dns has it. Where acme-dns knows no such
// error, status and word are those of the API.
func WriteACMEDNSError(w http.ResponseWriter, e *hosting.Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Round(time.Second)/time.Second))))
	}
	for _, known := range []error{ErrBadSubdomain, ErrBadText, ErrBadNetwork, ErrBadJSON} {
		if errors.Is(e, known) {
			writeACMEDNSError(w, http.StatusBadRequest, known.Error())
			return
		}
	}
	switch kind := e.Kind(); {
	case kind == api.Unauthorized, kind == api.Forbidden, kind == api.ZoneNotFound:
		writeACMEDNSError(w, http.StatusUnauthorized, "forbidden")
	case e.Status >= 500:
		writeACMEDNSError(w, e.Status, "db_error")
	default:
		writeACMEDNSError(w, e.Status, strings.ReplaceAll(kind, "-", "_"))
	}
}

func writeACMEDNSError(w http.ResponseWriter, status int, word string) {
	writeACMEDNS(w, status, fmt.Appendf(nil, `{"error": "%s"}`, word))
}

func writeACMEDNS(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}
