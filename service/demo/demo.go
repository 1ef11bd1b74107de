// Package demo is "caddy bestdns demo": a wildcard certificate obtained through
// BestDNS on one machine, with nothing configured and nothing left behind.
//
// Caddy runs in this process with a name server, the API, Caddy's own ACME server
// as the CA, and a site whose certificates come from it. In front of the CA
// is a little resolver, which also is the DNS host of the domain that is
// "hosted elsewhere".
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Options say how the demonstration runs.
type Options struct {
	// Out is where each step is printed as it happens.
	Out io.Writer
	// Keep leaves everything running until the context or the process is interrupted.
	Keep bool
}

// The names of the demonstration. (RFC 6761 keeps test. for such use.)
const (
	hostedZone    = "example.test"        // hosted by BestDNS
	hostedDomain  = "demo.example.test"   // gets *.demo.example.test
	foreignZone   = "elsewhere.test"      // hosted by the little resolver
	foreignDomain = "demo.elsewhere.test" // gets *.demo.elsewhere.test
	foreignTarget = foreignDomain + "." + hostedZone
	otherDomain   = "payroll.example.test" // what the token may not do
)

// patience is how long one certificate may take before the demonstration is
// given up. It takes less than a second.
const patience = 60 * time.Second

// demo is one run.
type demo struct {
	Options
	started time.Time
	dir     string
	ports   ports
	sites   []site
	roots   *x509.CertPool
	dns     *resolver
}

// site is a domain that gets a wildcard certificate, and the client of the
// service that obtains it.
type site struct {
	Client, Domain, Token string
	// challengeAt is where the challenge's TXT record is.
	challengeAt string
}

// Digest is what the service's configuration holds of the token.
func (s site) Digest() string { return access.DigestOf(s.Token).String() }

// ports are free ports of the loopback interface.
type ports struct {
	nameServer, resolver, api, site int
	// The CA has another port in each configuration. At the same one, a certificate's
	// order could begin at the CA of the configuration that is on its way out, whose
	// look-ups end with it: the challenge would be pending for ever.
	ca [3]int
}

// Run runs the demonstration. It returns nil when every step did what it should.
// It sets environment variables, for a process that has nothing else to do.
func Run(ctx context.Context, options Options) error {
	d := &demo{Options: options, started: time.Now()}
	dir, err := os.MkdirTemp("", "bestdns-demo-")
	if err != nil {
		return err
	}
	d.dir = dir
	defer os.RemoveAll(dir)
	// Caddy's ACME server keeps its database below the data directory, whatever
	// storage is configured.
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		os.Setenv(name, dir)
	}
	if err := d.run(ctx); err != nil {
		return errors.Join(err, d.logTail())
	}
	return nil
}

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	defer d.dns.close()
	defer func() { _ = caddy.Stop() }() // what it says is for a log that goes away with it
	caddy.BufferedLog()                 // until the configuration says where to, for the terminal has better to show
	if err := d.load(0); err != nil {
		return err
	}
	d.say("name server on %s, API on %s, and a CA for the demonstration", d.nameServer(), d.endpoint())
	if err := d.obtain(ctx, 0); err != nil {
		return err
	}
	d.say("now a domain hosted elsewhere, with only a CNAME there: _acme-challenge.%s CNAME %s", foreignDomain, foreignTarget)
	if err := d.obtain(ctx, 1); err != nil {
		return err
	}
	if err := d.refused(ctx); err != nil {
		return err
	}
	d.say("done in %s", time.Since(d.started).Round(time.Millisecond))
	if d.Keep {
		d.keep(ctx)
	}
	return nil
}

// prepare makes what must exist before Caddy's configuration is loaded: its
// modules read the CA's root while they are provisioned.
func (d *demo) prepare() error {
	root, err := makeRoot(d.dir)
	if err != nil {
		return fmt.Errorf("making the CA's root: %w", err)
	}
	d.roots = x509.NewCertPool()
	d.roots.AddCert(root)
	d.sites = []site{
		{Client: "web1", Domain: hostedDomain, Token: api.NewToken(), challengeAt: "_acme-challenge." + hostedDomain},
		{Client: "web2", Domain: foreignDomain, Token: api.NewToken(), challengeAt: foreignTarget},
	}
	if d.ports, err = freePorts(); err != nil {
		return fmt.Errorf("finding free ports: %w", err)
	}
	d.dns, err = startResolver(d.ports.resolver, d.nameServer())
	return err
}

// load loads the configuration with the first of the sites.
func (d *demo) load(sites int) error {
	config, err := d.config(d.sites[:sites])
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}

// obtain adds a site with a wildcard certificate to the configuration, and shows
// how it comes by it.
func (d *demo) obtain(ctx context.Context, number int) error {
	site, started := d.sites[number], time.Now()
	d.say("made a token for one domain: client %s { certificates %s }", site.Client, site.Domain)
	seen := d.dns.watch(site.challengeAt)
	if err := d.load(number + 1); err != nil {
		return err
	}
	d.say("started https://*.%s with: %s", site.Domain, strings.Join(siteTLS(d.endpoint()), "; "))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case text := <-seen:
		d.say("the CA looks up %s and finds in DNS: TXT %q", site.challengeAt, text)
	case <-ctx.Done():
		return fmt.Errorf("obtaining *.%s: the CA did not find a TXT record at %s", site.Domain, site.challengeAt)
	}
	leaf, body, err := d.fetch(ctx, "www."+site.Domain)
	if err != nil {
		return fmt.Errorf("obtaining *.%s: %w", site.Domain, err)
	}
	d.say("certificate for %s, valid until %s, after %s",
		strings.Join(leaf.DNSNames, ", "), leaf.NotAfter.Local().Format(time.DateTime), time.Since(started).Round(time.Millisecond))
	d.say("GET https://www.%s/ with it: %s", site.Domain, body)
	return d.absent(ctx, site.challengeAt)
}

// fetch gets the page of a site once its certificate is there.
func (d *demo) fetch(ctx context.Context, host string) (*x509.Certificate, string, error) {
	var lastErr error
	for {
		leaf, body, err := d.fetchOnce(ctx, host)
		if err == nil {
			return leaf, body, nil
		}
		if ctx.Err() == nil {
			lastErr = err
		}
		select {
		case <-time.After(5 * time.Millisecond): // Caddy says nothing when a certificate is in place
		case <-ctx.Done():
			return nil, "", lastErr
		}
	}
}

func (d *demo) fetchOnce(ctx context.Context, host string) (*x509.Certificate, string, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", loopback(d.ports.site))
		},
		TLSClientConfig: &tls.Config{RootCAs: d.roots},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		return nil, "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return response.TLS.PeerCertificates[0], string(body), err
}

// absent shows that the challenge record is gone again.
func (d *demo) absent(ctx context.Context, name string) error {
	for {
		reply := d.dns.ask(dns.Question{Name: dns.Fqdn(name), Qtype: dns.TypeTXT})
		if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
			return fmt.Errorf("looking whether the challenge record at %s is gone: %s", name, dns.RcodeToString[reply.Rcode])
		}
		if len(reply.Answer) == 0 {
			d.say("the challenge record at %s is gone again", name)
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond): // it goes after the certificate comes
		case <-ctx.Done():
			return fmt.Errorf("the challenge record at %s was left behind", name)
		}
	}
}

// refused shows that the token is good for nothing else.
func (d *demo) refused(ctx context.Context) error {
	provider := &bestdns.Provider{Endpoint: d.endpoint(), APIToken: d.sites[0].Token, TrustedRoots: []string{d.rootFile()}}
	_, err := provider.AppendRecords(ctx, hostedZone, []libdns.Record{
		libdns.TXT{Name: "_acme-challenge.payroll", Text: strings.Repeat("x", 43)},
	})
	var refusal *bestdns.Error
	if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
		return fmt.Errorf("the token should have been refused for %s, but: %w", otherDomain, err)
	}
	d.say("the token of %s for %s: refused: %s", d.sites[0].Client, otherDomain, refusal.Detail)
	return nil
}

// keep waits for an interrupt.
func (d *demo) keep(ctx context.Context) {
	fmt.Fprintf(d.Out, `
Everything is left running. Try:

	dig @127.0.0.1 -p %d SOA %s
	curl --cacert %s --resolve www.%s:%d:127.0.0.1 https://www.%[4]s:%[5]d/
	curl --cacert %[3]s -H "Authorization: Bearer %[6]s" %[7]s/v1/token

The configuration is %[8]s. Interrupt to end it; all of it goes away then.
`, d.ports.nameServer, hostedZone, d.rootFile(), hostedDomain, d.ports.site, d.sites[0].Token, d.endpoint(), d.caddyfilePath())
	<-ctx.Done()
}

// say prints a step with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.Out, "%6.3fs  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

// logTail returns the end of Caddy's log as an error, to go with another one.
func (d *demo) logTail() error {
	const most = 4 << 10
	text, err := os.ReadFile(d.logFile())
	if err != nil || len(text) == 0 {
		return nil
	}
	if len(text) > most {
		text = text[len(text)-most:]
		text = text[strings.IndexByte(string(text), '\n')+1:]
	}
	return fmt.Errorf("the end of Caddy's log:\n%s", text)
}

func (d *demo) nameServer() string    { return loopback(d.ports.nameServer) }
func (d *demo) endpoint() string      { return fmt.Sprintf("https://localhost:%d", d.ports.api) }
func (d *demo) rootFile() string      { return filepath.Join(d.dir, rootCertificateFile) }
func (d *demo) logFile() string       { return filepath.Join(d.dir, "caddy.log") }
func (d *demo) caddyfilePath() string { return filepath.Join(d.dir, "Caddyfile") }

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
