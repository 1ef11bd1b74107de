package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/nsquery"
)

// Endpoint is the service's API as a client has it configured.
type Endpoint struct {
	// URL is as [api.ParseEndpoints] reads it: several are copies of one service.
	URL      string
	Identity api.Identity
	// NoToken says why Identity is empty, where something was to give a token and
	// did not.
	NoToken error
	// Roots verify the endpoint's certificate; nil: the system's.
	Roots *x509.CertPool
	// Source says where the URL is configured, for the one who has to change it.
	Source string
}

// endpointTimeout is the time for one request to the API that changes nothing.
const endpointTimeout = 6 * time.Second

// checkEndpoints reports whether the API answers at one of its URLs at least.
func (c *checker) checkEndpoints(ctx context.Context) (answers bool) {
	urls, err := api.ParseEndpoints(c.Endpoint.URL)
	if err != nil {
		c.emit(Step{
			Name: "api", Status: Wrong,
			Found: err.Error(), Do: "correct it in " + c.Endpoint.Source + ":", Lines: []string{"endpoint https://dns.example.net"},
		})
		return false
	}
	for _, u := range urls {
		answers = c.checkEndpoint(ctx, u) || answers
	}
	return answers
}

// checkEndpoint reports whether the API answers at a URL, with a certificate that its
// clients accept.
func (c *checker) checkEndpoint(ctx context.Context, u *url.URL) bool {
	step := Step{Name: "api", Status: Wrong}
	defer func() { c.emit(step) }()
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	base := strings.TrimRight(u.String(), "/")
	connection, err := c.health(ctx, base)
	if err != nil {
		var reason string
		reason, step.Do, step.Lines = endpointFault(err, u.Hostname())
		step.Found = base + ": " + reason
		c.unreached = c.unreached || !answeredAtAll(err)
		return false
	}
	step.Status, step.Found = OK, base+" answers"
	if connection == nil {
		step.Found += ", without TLS on this machine"
		return true
	}
	leaf := connection.PeerCertificates[0]
	step.Found += fmt.Sprintf("; its certificate is valid until %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	// Certificates are renewed when a third of their time is left.
	if left, all := time.Until(leaf.NotAfter), leaf.NotAfter.Sub(leaf.NotBefore); left < all/6 {
		step.Status = Warning
		step.Do = "it should have been renewed: look for \"renew\" in the log of the Caddy that serves it"
	}
	return true
}

// errNotBestDNS is an answer that no BestDNS gives.
var errNotBestDNS = errors.New("what answers there is no BestDNS API")

// health asks for the service's health. There is no TLS to a loopback address
// with plain HTTP.
func (c *checker) health(ctx context.Context, base string) (*tls.ConnectionState, error) {
	transport := api.NewTransport(c.Endpoint.Roots, c.Endpoint.Identity.Certificate)
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/health", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	const most = 64 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return nil, err
	}
	var health api.Health
	if response.StatusCode == http.StatusOK && json.Unmarshal(body, &health) == nil && health.Status == "ok" {
		return response.TLS, nil
	}
	var problem api.Problem
	if json.Unmarshal(body, &problem) == nil && problem.Kind() != "" {
		return nil, &problem
	}
	return nil, fmt.Errorf("%w (%s)", errNotBestDNS, response.Status)
}

// answeredAtAll reports whether there was a server to be reached, if not the right one.
func answeredAtAll(err error) bool {
	dial, isNet := errors.AsType[*net.OpError](err)
	return !nsquery.IsTimeout(err) && !(isNet && dial.Op == "dial")
}

// endpointFault says what went wrong, without the URL, and what to do about it.
func endpointFault(err error, host string) (reason, do string, lines []string) {
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var problem *api.Problem
	var notTLS tls.RecordHeaderError
	site := []string{host + " {", "\tbestdns", "}"}
	switch {
	case errors.As(err, &problem):
		return problem.Error(), "look into the log of the service: it says why it cannot do its work", nil
	case errors.Is(err, errNotBestDNS):
		return err.Error(), "the site has to hand the API's paths to the handler, or the endpoint lacks the path before them; in the service's Caddyfile:", site
	case errors.As(err, &lookup):
		return "the host " + lookup.Name + " cannot be looked up: " + lookup.Err,
			"create the address record of the API's host, with the address of the machine that runs the service, or correct the endpoint:", []string{host + ". A <address of the service>"}
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch): // the latter where it speaks HTTP
		return "it does not speak TLS", "the port serves plain HTTP: name the one that serves HTTPS in the endpoint", nil
	}
	do = "start the service, or correct the endpoint's host and port"
	if nsquery.IsTimeout(err) {
		do = "let TCP to the endpoint's port through the firewalls between here and " + host
	}
	if !errors.As(err, &certificate) {
		if request, ok := errors.AsType[*url.Error](err); ok { // it repeats the URL
			err = request.Err
		}
		return nsquery.Reason(err), do, nil
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		do = "if the service has its certificate from a private CA, name that CA's root at the client (its module's option, or --trusted-roots here):"
		lines = []string{"trusted_roots /etc/ssl/private-ca.pem"}
	case errors.As(err, &name):
		do = "the service has to have a site with this very name, or the endpoint one of the names in the certificate; in the service's Caddyfile:"
		lines = site
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		do = "the Caddy that serves the API did not renew it (or this machine's clock is wrong): look for \"" + host + "\" in its log"
	}
	return "its certificate is not accepted: " + certificate.Err.Error(), do, lines
}
