package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files of the CA's root in the temporary folder.
const (
	rootCertificateFile = "root.pem"
	rootKeyFile         = "root-key.pem"
)

func (d *demo) rootKeyFile() string { return filepath.Join(d.dir, rootKeyFile) }

// makeRoot makes the root certificate of the demonstration's CA, which nothing
// outside of it trusts, and writes it and its key to dir.
func makeRoot(dir string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "BestDNS demonstration root"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(0, 3, 0), // Caddy renews a root that ends soon
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyBytes, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(filepath.Join(dir, rootCertificateFile), "CERTIFICATE", certificate); err != nil {
		return nil, err
	}
	if err := writePEM(filepath.Join(dir, rootKeyFile), "EC PRIVATE KEY", keyBytes); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(certificate)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
