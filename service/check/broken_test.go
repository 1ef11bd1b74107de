package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// breakage is one way in which a setup can be broken, and what is said of it.
type breakage struct {
	name    string
	breakIt func(t *testing.T, s *setup)
	// want are all steps that are not right, as they are printed.
	want []Step
}

// nothingFor is the answer that there is no such name, remembered for a time.
func nothingFor(t *testing.T, seconds int) *dns.Msg {
	soa, err := dns.NewRR(fmt.Sprintf("example.org. %d SOA ns.example.com. hostmaster.example.com. 1 3600 600 1209600 5", seconds))
	if err != nil {
		t.Fatal(err)
	}
	return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}, Ns: []dns.RR{soa}}
}

// serveTLS has the API served with a certificate that ends then, for that address.
func (s *setup) serveTLS(t *testing.T, end time.Time, address string, trusted bool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.service)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of what is meant to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	s.options.Endpoint.URL = server.URL
	s.options.Endpoint.Roots = x509.NewCertPool()
	if trusted {
		s.options.Endpoint.Roots.AddCert(leaf)
	}
}

// TestBroken breaks a setup in one way after another, and finds each time what to
// change, and nothing wrong beside it but what follows from it.
func TestBroken(t *testing.T) {
	for _, b := range slices.Concat(brokenDelegation, brokenServers, brokenDomain, brokenService) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			b.breakIt(t, s)
			report := s.run(t)
			var got []Step
			for _, step := range report.Steps {
				if step.Status != OK && step.Status != Skipped && step.Status != Note {
					got = append(got, s.stable(step))
				}
			}
			if diff := cmp.Diff(b.want, got); diff != "" {
				t.Errorf("steps that are not right (-want +got):\n%s", diff)
			}
		})
	}
}

// stable takes out of a step what differs from run to run.
func (s *setup) stable(step Step) Step {
	if found, _, ok := strings.Cut(step.Found, ": current time"); ok {
		step.Found = found
	}
	replace := strings.NewReplacer(
		orElse(s.options.Endpoint.URL, "\x00"), "https://dns.example.net",
		strings.TrimPrefix(s.api.URL, "http://"), "dns.example.net",
	)
	for _, text := range append([]*string{&step.Found, &step.Do}, pointers(step.Lines)...) {
		*text = times.ReplaceAllString(replace.Replace(*text), "<time>")
	}
	return step
}

// times are dates and durations.
var times = regexp.MustCompile(`\b(\d{4}-\d\d-\d\d(T[0-9:]+Z)?|\d+s later)\b`)

func pointers(texts []string) (all []*string) {
	for i := range texts {
		all = append(all, &texts[i])
	}
	return all
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
