package harness

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// AssertServed fails the test unless a TLS server at addr shows, to a client
// that asks for the host, a certificate of the CA with exactly these names.
func AssertServed(t testing.TB, addr, host string, ca *Pebble, names ...string) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: host, RootCAs: ca.Roots})
	if err != nil {
		t.Errorf("connecting to %s as %s: %v", addr, host, err)
		return
	}
	defer conn.Close()
	AssertNames(t, conn.ConnectionState().PeerCertificates[0], names)
}

// AssertIssued fails the test unless chain (PEM) is a certificate of the CA with
// exactly these names.
func AssertIssued(t testing.TB, chain []byte, ca *Pebble, names ...string) {
	t.Helper()
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		t.Fatal("there is no certificate in the chain")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: ca.Roots, Intermediates: intermediates}); err != nil {
		t.Errorf("verifying the certificate: %v", err)
	}
	AssertNames(t, certs[0], names)
}

func AssertNames(t testing.TB, cert *x509.Certificate, names []string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(cert.DNSNames))); diff != "" {
		t.Errorf("the names of the certificate (-want +got):\n%s", diff)
	}
}
