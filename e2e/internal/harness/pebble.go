package harness

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Paths of Pebble's API that the tests look at.
const (
	pebbleDirectory = "/dir"
	pebbleNewOrder  = "/order-plz"
	pebbleChallenge = "/chalZ/"
)

// setPebbleEnv sets what Pebble reads from its environment. Its pauses and
// random refusals would only make the tests slow, and a reused authorisation
// would be a certificate for which nothing was proved.
func setPebbleEnv() {
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	os.Setenv("PEBBLE_AUTHZREUSE", "0")
}

// Pebble is a CA in the test's own process.
type Pebble struct {
	// Directory is the URL of the ACME directory.
	Directory string
	// TLSRoot is a PEM file, the root of the certificate of the ACME API itself.
	TLSRoot string
	// TLSRoots is the same as a pool.
	TLSRoots *x509.CertPool
	// Roots verify the certificates that this CA issues.
	Roots *x509.CertPool
	// HTTPPort is where the CA connects for HTTP-01.
	HTTPPort int

	log *Log

	mu sync.Mutex
	// late is set where answers to challenges wait for the validation.
	late bool
	// orders counts the orders in which a name was asked for.
	orders map[string]int
	// gate, if not nil, is what each answer to a challenge waits at.
	gate *Gate
}

// Gate holds the ACME clients that have put their record in place and are
// telling the CA to look at it.
type Gate struct {
	// Reached is closed when the first client has come to the gate.
	Reached chan struct{}
	open    chan struct{}
	once    sync.Once
}

// Open lets all clients through.
func (g *Gate) Open() { close(g.open) }

// NewPebble starts a CA that looks names up at the resolver's address. Nothing
// of it waits for anything: retryAfter is 0 everywhere.
func NewPebble(t testing.TB, resolver string) *Pebble {
	t.Helper()
	logged := NewLog()
	logger := log.New(logged, "", log.Lmicroseconds)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Pebble's log:\n%s", logged)
		}
	})

	httpPort, err := strconv.Atoi(Port(t, FreeAddr(t)))
	if err != nil {
		t.Fatal(err)
	}
	const noTLSALPN = 0
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	validation := va.New(logger, httpPort, noTLSALPN, false, resolver, store)
	frontEnd := wfe.New(logger, store, validation, authority, []string{"pebble.example"}, false, false, 0, 0)

	p := &Pebble{HTTPPort: httpPort, log: logged, orders: make(map[string]int)}
	server := httptest.NewUnstartedServer(p.watch(frontEnd.Handler()))
	server.Config.ErrorLog = logger
	server.StartTLS()
	t.Cleanup(server.Close)

	p.Directory = server.URL + pebbleDirectory
	p.TLSRoot = WriteCertificate(t, server.Certificate())
	p.TLSRoots = pool(server.Certificate())
	p.Roots = pool(authority.GetRootCert(0).Cert)
	return p
}

// Orders returns in how many orders the name was asked for.
func (p *Pebble) Orders(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.orders[name]
}

// Validations returns how many challenges of a domain, wildcards included, the CA has looked at. That may
// be fewer than one for each order and name: Pebble reuses one authorization in a hundred at least.
func (p *Pebble) Validations(domain string) int {
	return len(p.log.Entries(func(e Entry) bool {
		return strings.Contains(e.Line, "Pulled a task from the Tasks queue") && strings.Contains(e.Line, fmt.Sprintf("Value:%q}", domain))
	}))
}

// HoldChallenges makes clients wait with their challenges until the gate is opened.
func (p *Pebble) HoldChallenges() *Gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = &Gate{Reached: make(chan struct{}), open: make(chan struct{})}
	return p.gate
}

// AnswerLate holds back the answer to a challenge until the CA has validated it. lego
// asks for the outcome as soon as it has that answer, and again only after seconds.
func (p *Pebble) AnswerLate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = true
}

// waitValidated waits until the CA says in its log what a challenge has come to.
func (p *Pebble) waitValidated(path string) {
	p.mu.Lock()
	late := p.late
	p.mu.Unlock()
	if !late {
		return
	}
	end := " by completed challenge " + strings.TrimPrefix(path, pebbleChallenge)
	// If it never comes, the client finds out by itself, later.
	_ = p.log.Wait(1, ObtainTimeout, func(e Entry) bool { return strings.HasSuffix(e.Line, end) })
}

// watch counts orders and holds challenges before next sees them.
func (p *Pebble) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == pebbleNewOrder:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			p.countOrder(body)
		case strings.HasPrefix(r.URL.Path, pebbleChallenge):
			p.waitAtGate(r)
			defer p.waitValidated(r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
}

// countOrder reads the names out of a signed request for an order (RFC 8555 §7.4).
func (p *Pebble) countOrder(body []byte) {
	var signed struct{ Payload string }
	var order struct{ Identifiers []struct{ Value string } }
	if json.Unmarshal(body, &signed) != nil {
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil || json.Unmarshal(payload, &order) != nil {
		return // Pebble will refuse it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range order.Identifiers {
		p.orders[id.Value]++
	}
}

func (p *Pebble) waitAtGate(r *http.Request) {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	if gate == nil {
		return
	}
	gate.once.Do(func() { close(gate.Reached) })
	select {
	case <-gate.open:
	case <-r.Context().Done():
	}
}

func pool(cert *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(cert)
	return p
}

// WriteCertificate writes cert into a PEM file of the test's.
func WriteCertificate(t testing.TB, cert *x509.Certificate) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "root.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
