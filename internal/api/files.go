package api

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
)

// mostOfValue is how large a file with a value may be, as it is for Caddy.
const mostOfValue = 1 << 20

// ReadValue reads a file that holds one value, such as a token. A line end that ends the
// file is not part of the value. Everything else is, as with Caddy's {file.…}: the same
// file has to do for all clients.
func ReadValue(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	value, err := io.ReadAll(io.LimitReader(file, mostOfValue+1))
	if err != nil {
		return "", err
	}
	if len(value) > mostOfValue {
		return "", fmt.Errorf("%s is larger than %d bytes, so it is not the file of a token or a setting", name, mostOfValue)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r"), nil
}

// ReadRoots reads the certificates of trusted CAs from PEM files. No files give nil,
// which stands for the system's.
func ReadRoots(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading trusted_roots: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading trusted_roots: %s holds no certificate in PEM form", file)
		}
	}
	return pool, nil
}

// CertificateIn returns what [Identity] needs to present the certificate in a PEM file,
// with its key in another. The files are read at each handshake, so that a renewed
// certificate is presented from then on.
func CertificateIn(certificate, key string) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		return &pair, nil
	}
}
