package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// The domain of TestPersist, where its standing permissions are, and the CA that has them.
const (
	persistDomain = "www." + harness.HostedZone
	persistOwner  = "_validation-persist." + persistDomain
	persistIssuer = "pebble.example" // as harness.NewPebble has it
)

// persistWorld is a service with an ACME account, which has no DNS provider.
type persistWorld struct {
	*harness.World
	certifies string // the token of the client with certificates
	client    *acme.Client
	account   acme.Account
}

func newPersistWorld(t *testing.T) *persistWorld {
	t.Helper()
	w := &persistWorld{World: harness.NewWorld(t), certifies: api.NewToken()}
	harness.StartCaddy(t, harness.CaddyBinary, "persist.caddyfile", w.Env(t), harness.Env{"CERTIFIES_DIGEST": harness.Digest(w.certifies)})
	w.client = &acme.Client{
		Directory: w.Pebble.Directory,
		HTTPClient: &http.Client{Transport: harness.DefinedTransport(t, &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: w.Pebble.TLSRoots},
		})},
	}
	w.account = harness.Must(w.client.NewAccount(t.Context(), acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)}))(t)
	return w
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return harness.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

// persist runs "caddy bestdns persist" for the account, as the client with a token.
func (w *persistWorld) persist(t *testing.T, token string, args ...string) (out string, err error) {
	t.Helper()
	args = append([]string{"bestdns", "persist", persistDomain, "--account", w.account.Location, "--issuer", persistIssuer, "--resolver", w.Resolver.Addr}, args...)
	cmd := exec.Command(harness.CaddyBinary, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		"BESTDNS_ENDPOINT="+w.Recorder.PlainURL, "BESTDNS_API_TOKEN="+token)
	printed, err := cmd.CombinedOutput()
	harness.AssertNoToken(t, "what the command prints", string(printed))
	return string(printed), err
}

// order has the account order a certificate, respond to the challenge dns-persist-01 of each name,
// and finalize, with no change in DNS. The error is the CA's.
func (w *persistWorld) order(t *testing.T, names ...string) (chain []byte, err error) {
	t.Helper()
	ctx := t.Context()
	var order acme.Order
	for _, name := range names {
		order.Identifiers = append(order.Identifiers, acme.Identifier{Type: "dns", Value: name})
	}
	order = harness.Must(w.client.NewOrder(ctx, w.account, order))(t)
	for _, url := range order.Authorizations {
		authorization := harness.Must(w.client.GetAuthorization(ctx, w.account, url))(t)
		if err := w.prove(t, authorization); err != nil {
			return nil, err
		}
		// Pebble would reuse some for the next order, with nothing proved anew.
		defer func() { harness.Must(w.client.DeactivateAuthorization(ctx, w.account, url))(t) }()
	}
	key := newKey(t)
	csr := harness.Must(acmez.NewCSR(key, names))(t)
	if order, err = w.client.FinalizeOrder(ctx, w.account, order, csr.Raw); err != nil {
		return nil, err
	}
	chains := harness.Must(w.client.GetCertificateChain(ctx, w.account, order.Certificate))(t)
	return chains[0].ChainPEM, nil
}

// prove responds to one challenge, and waits until the CA has looked.
func (w *persistWorld) prove(t *testing.T, authorization acme.Authorization) error {
	t.Helper()
	for _, challenge := range authorization.Challenges {
		if challenge.Type != acme.ChallengeTypeDNSPersist01 {
			continue
		}
		if diff := cmp.Diff([]string{persistIssuer}, challenge.IssuerDomainNames); diff != "" {
			t.Errorf("the CA's names (-want +got):\n%s", diff)
		}
		harness.Must(w.client.InitiateChallenge(t.Context(), w.account, challenge))(t)
		_, err := w.client.PollAuthorization(t.Context(), w.account, authorization)
		return err
	}
	t.Fatalf("the CA does not offer %s: %+v", acme.ChallengeTypeDNSPersist01, authorization.Challenges)
	return nil
}

// serial is that of the zone.
func (w *persistWorld) serial(t *testing.T) string {
	t.Helper()
	return strings.Fields(w.Resolver.Query(t, harness.HostedZone, dns.TypeSOA)[0])[2]
}

// TestPersist has a client of the service permit an ACME account to obtain certificates. It obtains
// and renews them with no change in DNS, until the permission is deleted.
func TestPersist(t *testing.T) {
	t.Parallel()
	w := newPersistWorld(t)
	both := []string{persistDomain, "*." + persistDomain}
	refused := func(what string, names ...string) {
		t.Helper()
		_, err := w.order(t, names...)
		var problem acme.Problem
		if !errors.As(err, &problem) || problem.Type != acme.ProblemTypeUnauthorized {
			t.Errorf("%s: the CA says %v", what, err)
		}
	}
	refused("without a permission", persistDomain)

	// For the domain alone.
	out, err := w.persist(t, w.Token, "--until", "2099-12-31", "--write")
	if err != nil || !strings.Contains(out, "in the zone "+harness.HostedZone+" of "+w.Recorder.PlainURL) || !strings.Contains(out, "\nA resolver has it, as a CA would see it.\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	alone := `"` + persistIssuer + "; accounturi=" + w.account.Location + `; persistUntil=4102444799"`
	if diff := cmp.Diff([]string{alone}, w.Resolver.Query(t, persistOwner, dns.TypeTXT)); diff != "" {
		t.Errorf("the record in DNS (-want +got):\n%s", diff)
	}
	chain, err := w.order(t, persistDomain)
	harness.NoError(t, err)
	harness.AssertIssued(t, chain, w.Pebble, persistDomain)
	refused("a wildcard, by a permission without it", both...)
	if out, err := w.persist(t, w.Token, "--until", "2099-12-31", "--remove"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// With the wildcard, as acmez itself writes it, and renewed.
	if out, err := w.persist(t, w.Token, "--wildcard", "--write"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	value := acme.Challenge{}.DNSPersist01TXTRecordValue(w.account, persistIssuer, true)
	if diff := cmp.Diff([]string{strconv.Quote(value)}, w.Resolver.Query(t, persistOwner, dns.TypeTXT)); diff != "" {
		t.Errorf("the record in DNS (-want +got):\n%s", diff)
	}
	serial, requests := w.serial(t), len(w.Recorder.Requests())
	for range 2 {
		chain, err := w.order(t, both...)
		harness.NoError(t, err)
		harness.AssertIssued(t, chain, w.Pebble, both...)
	}
	if again := w.serial(t); again != serial {
		t.Errorf("the zone's serial went from %s to %s", serial, again)
	}
	if more := w.Recorder.Requests()[requests:]; len(more) > 0 {
		t.Errorf("the service was asked: %+v", more)
	}
	w.assertShown(t)

	// Another account cannot use it.
	owner := w.account
	w.account = harness.Must(w.client.NewAccount(t.Context(), acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)}))(t)
	refused("another account", persistDomain)
	w.account = owner

	out, err = w.persist(t, w.Token, "--wildcard", "--remove")
	if err != nil || !strings.HasPrefix(out, "Deleted:\n") || len(w.Resolver.Query(t, persistOwner, dns.TypeTXT)) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	refused("after the permission was deleted", both...)
}

// assertShown has the check of the domain show the permission. Only that step is compared: this world lacks
// what the others need.
func (w *persistWorld) assertShown(t *testing.T) {
	t.Helper()
	cmd := exec.Command(harness.CaddyBinary, "bestdns", "check", persistDomain, "--ca", persistIssuer, "--account-uri", w.account.Location,
		"--resolver", w.Resolver.Addr, "--json")
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
	printed, err := cmd.Output()
	var report checkReport
	if errJSON := json.NewDecoder(bytes.NewReader(printed)).Decode(&report); errJSON != nil {
		t.Fatalf("%v: %v\n%s", err, errJSON, printed)
	}
	var found []string
	for _, step := range report.Steps {
		if step.Step == "permission" {
			found = append(found, step.Status+": "+step.Found)
		}
	}
	want := []string{"note: the account " + w.account.Location + ", which is in use here, of " + persistIssuer + " can obtain certificates for " +
		persistDomain + " and *." + persistDomain + ", and for names below if the CA allows that, without a challenge; it never expires"}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("what the check shows (-want +got):\n%s", diff)
	}
}

// The right to a permission and the right to challenges are separate.
func TestPersistRights(t *testing.T) {
	t.Parallel()
	w := newPersistWorld(t)
	out, err := w.persist(t, w.certifies, "--write")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, `client "certifies" may not append`) {
		t.Errorf("a permission by the right to challenges: %v\n%s", err, out)
	}
	if requests := w.Recorder.Requests(); len(requests) != 1 || requests[0].Status != http.StatusForbidden {
		t.Errorf("%+v", requests)
	}
	challenge := []libdns.Record{libdns.TXT{Name: "_acme-challenge", Text: strings.Repeat("x", 43)}}
	_, err = w.Provider(w.Recorder.URL).AppendRecords(t.Context(), persistDomain+".", challenge)
	var refusal *bestdns.Error
	if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
		t.Errorf("a challenge by the right to permissions: %v", err)
	}
	for _, name := range []string{persistOwner, "_acme-challenge." + persistDomain} {
		if found := w.Resolver.Query(t, name, dns.TypeTXT); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
}
