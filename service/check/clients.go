package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
	"github.com/caddy-dns/bestdns/internal/record"
	"github.com/caddy-dns/bestdns/internal/tsig"
)

// This file checks clients that speak another protocol than the API: accounts of acme-dns, those that send
// dynamic updates, and those of httpreq. Each is checked by a request that leaves nothing behind.

// Account is an account of acme-dns, as its client stores it.
type Account struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	Subdomain string `json:"subdomain"`
	// Fulldomain is where a CNAME has to lead.
	Fulldomain string `json:"fulldomain"`
	Server     string `json:"server_url"`
}

// Updates is what a client that sends dynamic updates (RFC 2136) has configured.
type Updates struct {
	// Server is the service's name server, as "host:port".
	Server string
	Key    tsig.Key
}

// checkOther checks a client that is not known by a token.
func (c *checker) checkOther(ctx context.Context, s subject) *reached {
	var step Step
	r := new(reached)
	if c.Account != nil {
		r.why = "an account of acme-dns cannot remove what it writes"
		step = c.accountStep(ctx, c.Account)
	} else {
		r.why = "no update was sent"
		zone, ok := c.checkUpdateZone(ctx, s)
		if !ok || ctx.Err() != nil {
			return r
		}
		r.why = "the step update has tried that"
		step = c.updateStep(ctx, s, zone)
	}
	if ctx.Err() == nil {
		c.emit(step)
	}
	return r
}

// accountStep says whether the account is accepted.
func (c *checker) accountStep(ctx context.Context, a *Account) Step {
	step := Step{Name: "acme-dns", Status: Wrong}
	server, _, _ := strings.Cut(a.Server, "/r/") // after which the token is that may register
	u, err := api.ParseEndpoint(server)
	if err != nil {
		step.Found, step.Do = "the account's server: "+err.Error(), "correct server_url where the account is stored, or give the URL with --endpoint if it has none"
		return step
	}
	base := strings.TrimRight(u.String(), "/")
	status, _, err := c.call(ctx, http.MethodGet, base+"/health", nil, nil)
	switch {
	case err != nil:
		var reason string
		reason, step.Do, step.Lines = endpointFault(err, u.Hostname())
		step.Found = base + ": " + reason
		return step
	case status == http.StatusServiceUnavailable:
		step.Found, step.Do = base+" cannot do its work now", "look into the log of the service"
		return step
	case status != http.StatusOK:
		step.Found = fmt.Sprintf("%s answers with status %d to acme-dns' /health: it does not speak acme-dns", base, status)
		step.Do, step.Lines = switchOn("acme_dns")
		return step
	}
	// No challenge has an empty value, so that nothing is written; and the account is judged first.
	body, err := json.Marshal(map[string]string{"subdomain": a.Subdomain, "txt": ""})
	if err != nil {
		step.Found = err.Error()
		return step
	}
	status, text, err := c.call(ctx, http.MethodPost, base+"/update", http.Header{"X-Api-User": {a.Username}, "X-Api-Key": {a.Password}}, body)
	switch {
	case err != nil:
		step.Status, step.Found, step.Do = Unknown, base+": "+nsquery.Reason(err), "try again"
	case status == http.StatusBadRequest && bytes.Contains(text, []byte("bad_txt")):
		step.Status, step.Found = OK, fmt.Sprintf("%s accepts the account, which answers challenges at %s", base, a.Fulldomain)
	case status == http.StatusUnauthorized:
		step.Found = base + " does not accept the account: user name, password or subdomain is wrong, it is revoked, or this machine's address is not in its allowfrom"
		step.Do = "the service's log says which, under \"a request was refused\"; a new account is registered at " + base + "/register, and needs another CNAME"
	default:
		step.Status, step.Found = Unknown, fmt.Sprintf("%s answers with status %d to an update, so that nothing is known of the account", base, status)
		step.Do = "try again later"
	}
	return step
}

// switchOn says how a protocol is switched on.
func switchOn(option string) (do string, lines []string) {
	return "switch it on in the service's site, and reload:", []string{"bestdns {", "\t" + option, "}"}
}

// checkHTTPReq reports whether the service speaks httpreq, at each of its URLs.
func (c *checker) checkHTTPReq(ctx context.Context) {
	urls, err := api.ParseEndpoints(c.Endpoint.URL)
	if err != nil {
		return // the step api says so
	}
	for _, u := range urls {
		base := strings.TrimRight(u.String(), "/")
		step := Step{Name: "httpreq", Status: OK, Found: base + " speaks httpreq"}
		// /present takes POST only, and says so before it asks who it is.
		status, text, err := c.call(ctx, http.MethodGet, base+"/present", nil, nil)
		var problem api.Problem
		switch {
		case err != nil:
			step.Status, step.Found = Unknown, base+": "+nsquery.Reason(err)
		case status != http.StatusMethodNotAllowed || json.Unmarshal(text, &problem) != nil || problem.Kind() != api.MethodNotAllowed:
			step.Status, step.Found = Wrong, base+" does not speak httpreq"
			step.Do, step.Lines = switchOn("httpreq")
		}
		c.emit(step)
	}
}

// call makes a request of a protocol over HTTP.
func (c *checker) call(ctx context.Context, method, url string, header http.Header, body []byte) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	transport := api.NewTransport(c.Endpoint.Roots, nil)
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	maps.Copy(request.Header, header)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	const most = 64 << 10
	text, err = io.ReadAll(io.LimitReader(response.Body, most))
	return response.StatusCode, text, err
}

// checkUpdateZone returns the zone that clients take for that of the challenge: the nearest name above for
// which the name server has a SOA record. certbot, lego and nsupdate find it so.
func (c *checker) checkUpdateZone(ctx context.Context, s subject) (zone record.Name, ok bool) {
	step := Step{Name: "update-zone", Status: Wrong}
	defer func() {
		if ctx.Err() == nil {
			c.emit(step)
		}
	}()
	for name := s.owner; name != record.Root && name != ""; name = name.Parent() {
		answer := c.client.Ask(ctx, c.Updates.Server, nsquery.Question{Name: name, Type: dns.TypeSOA})
		switch {
		case answer.Err != nil:
			step.Found = fmt.Sprintf("no answer from %s: %s", c.Updates.Server, nsquery.Reason(answer.Err))
			step.Do = "see that it is the service's name server (listen), and let UDP and TCP to it through the firewalls"
			return "", false
		case answer.SOA() != nil && answer.Authoritative:
			step.Status, step.Found = OK, fmt.Sprintf("%s takes updates of %s as of zone %s", c.Updates.Server, s.owner.Plain(), name.Plain())
			return name, true
		}
	}
	step.Found = fmt.Sprintf("%s knows no zone that holds %s: certbot says then \"Unable to determine base domain\"", c.Updates.Server, s.owner.Plain())
	step.Do, step.Lines = rightAdvice("CLIENT", s)
	step.Do = "let the service have the zone, or for a domain hosted elsewhere " + step.Do
	return "", false
}

// updateStep has one update add a value and delete it again, which leaves nothing.
func (c *checker) updateStep(ctx context.Context, s subject, zone record.Name) Step {
	key := c.Updates.Key
	step := Step{Name: "update", Status: Wrong}
	m := new(dns.Msg).SetUpdate(zone.String())
	value := randomValue()
	challenge := func() []dns.RR { // each for itself, since the library changes its class
		return []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: s.owner.String(), Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{value}}}
	}
	m.Insert(challenge())
	m.Remove(challenge())
	m.SetEdns0(dns.DefaultMsgSize, false) // for the reason
	m.SetTsig(key.Name.String(), key.Algorithm, 300, time.Now().Unix())
	answer, err := c.exchangeSigned(ctx, m)
	if answer == nil {
		step.Status, step.Found = Unknown, fmt.Sprintf("no answer to an update from %s over TCP: %s", c.Updates.Server, nsquery.Reason(err))
		step.Do = "let TCP to it through the firewalls, or try again"
		return step
	}
	if answer.Rcode == dns.RcodeSuccess && err == nil {
		step.Status, step.Found = OK, fmt.Sprintf("an update signed with key %s added a challenge at %s and took it away again", key, s.owner.Plain())
		return step
	}
	fault := nsquery.RcodeText(answer.Rcode)
	if t := answer.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
		fault += ", " + nsquery.RcodeText(int(t.Error))
	}
	step.Found = fmt.Sprintf("%s answers %s to an update signed with key %s", c.Updates.Server, fault, key)
	reason := reasonOf(answer)
	if reason != "" {
		step.Found += ": " + reason
	}
	switch {
	case answer.Rcode == dns.RcodeSuccess:
		step.Found += ": " + err.Error() // of the answer's signature
		step.Do = "compare the key's secret on both sides"
	case answer.Rcode == dns.RcodeNotImplemented:
		step.Do, step.Lines = "no client of the service has a key: give this one its line, and reload:", keyLines(key)
	case answer.IsTsig() != nil && answer.IsTsig().Error == dns.RcodeBadTime:
		step.Do = "set the clocks of both machines: more than 300 seconds apart no signature is accepted"
	case answer.IsTsig() != nil && answer.IsTsig().Error != dns.RcodeSuccess:
		step.Do, step.Lines = "compare name, algorithm and secret of the key with the client's line in the service's configuration, and reload it:", keyLines(key)
	case strings.Contains(reason, access.ErrExpired.Error()):
		step.Do, step.Lines = renew("CLIENT")
	case strings.Contains(reason, access.ErrNetwork.Error()):
		step.Do, step.Lines = admit("CLIENT")
	default:
		step.Do, step.Lines = rightAdvice("CLIENT", s)
	}
	return step
}

// renew says what to do about a client that has expired or soon will.
func renew(client string) (do string, lines []string) {
	return access.RenewAdvice + ":", []string{"client " + client + " {", "\texpires " + time.Now().UTC().AddDate(1, 0, 0).Format(time.DateOnly), "}"}
}

// admit says what to do about a client that comes from outside of its networks.
func admit(client string) (do string, lines []string) {
	return "run this on the client's machine; or if this is it, add the address to the client's networks in the service's configuration, and reload:",
		[]string{"client " + client + " {", "\tclient_ip <address>", "}"}
}

func keyLines(key tsig.Key) []string {
	return []string{"client CLIENT {", "\ttsig " + key.Name.Plain() + " " + strings.TrimSuffix(key.Algorithm, ".") + " {env.…}", "}"}
}

// reasonOf returns the words in which an answer says what is wrong (RFC 8914).
func reasonOf(m *dns.Msg) string {
	if opt := m.IsEdns0(); opt != nil {
		for _, option := range opt.Option {
			if e, ok := option.(*dns.EDNS0_EDE); ok {
				return e.ExtraText
			}
		}
	}
	return ""
}

// exchangeSigned sends a signed message over TCP. With an answer whose signature is wrong or missing, it returns an error
// as well.
func (c *checker) exchangeSigned(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	connection, err := dial(ctx, "tcp", c.Updates.Server)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	// The library goes by the deadline alone: closing ends it when ctx is cancelled.
	defer context.AfterFunc(ctx, func() { connection.Close() })()
	key := c.Updates.Key
	client := &dns.Client{Timeout: changeTimeout, TsigSecret: map[string]string{key.Name.String(): key.Secret()}}
	answer, _, err := client.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: connection})
	if answer == nil || answer.Id != m.Id || !answer.Response {
		if err == nil {
			err = errors.New("the answer is to another question")
		}
		return nil, err
	}
	if err == nil && answer.IsTsig() == nil {
		err = errors.New("the answer is not signed")
	}
	return answer, err
}
