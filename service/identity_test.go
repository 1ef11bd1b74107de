package service

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns"
)

// TestKnownByCertificate has clients known by Caddy's own mTLS.
func TestKnownByCertificate(t *testing.T) {
	s := newService(t)
	s.api = "https://localhost:" + s.api[strings.LastIndexByte(s.api, ':')+1:]
	cert, key, hash := clientCertificate(t, "web1")
	otherCert, otherKey, _ := clientCertificate(t, "stranger")
	options := fmt.Sprintf("listen %s\nstore %q\nzone example.test {\nns ns1.example.test 127.0.0.1\n}\nclient web1 {\ntls_client_certificate %s\ncertificates web1.example.test\n}\n", s.dns, s.store, hash)
	s.loadText(t, strings.Replace(s.caddyfile(options), s.tlsLine(), s.tlsLine()+" {\nclient_auth {\nmode request\n}\n}", 1))
	root := s.certificate
	records := []libdns.Record{libdns.TXT{Name: "_acme-challenge.web1", Text: challengeValue}}
	provider := &bestdns.Provider{Endpoint: s.api, TrustedRoots: []string{root}, ClientCertificate: cert, ClientKey: key}
	if added, err := provider.AppendRecords(t.Context(), "example.test", records); err != nil || len(added) != 1 {
		t.Fatalf("appended %v, %v", added, err)
	}
	records[0] = libdns.TXT{Name: "_acme-challenge.web2", Text: challengeValue}
	var failure *bestdns.Error
	if _, err := provider.AppendRecords(t.Context(), "example.test", records); !errors.As(err, &failure) || failure.Status != 403 {
		t.Errorf("for another name: %v", err)
	}
	stranger := &bestdns.Provider{Endpoint: s.api, TrustedRoots: []string{root}, ClientCertificate: otherCert, ClientKey: otherKey}
	if _, err := stranger.ListZones(t.Context()); !errors.As(err, &failure) || failure.Status != 401 || !strings.Contains(failure.Detail, "certificate") {
		t.Errorf("a stranger's certificate: %v", err)
	}
	// A renewed certificate is used without a new provider.
	for _, file := range [][2]string{{otherCert, cert}, {otherKey, key}} {
		text, err := os.ReadFile(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file[1], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	provider.Cleanup() // closes the connection that has the old one
	if _, err := provider.ListZones(t.Context()); !errors.As(err, &failure) || failure.Status != 401 {
		t.Errorf("after the files were replaced: %v", err)
	}
}

// TestKnownByUser has clients known by Caddy's basic_auth.
func TestKnownByUser(t *testing.T) {
	s := newService(t)
	const hash = "$2a$04$J65wPad8Zo6PKB8pLunGTeI9wxi4FDQ9bGtnoTEXsj3ktJDTY31eC" // of "secret", at bcrypt's least cost
	options := fmt.Sprintf("listen %s\nstore %q\nzone example.test {\nns ns1.example.test 127.0.0.1\n}\nclient web1 {\nuser alice\nallow under example.test\n}\n", s.dns, s.store)
	s.loadText(t, strings.Replace(s.caddyfile(options), "\t\tbestdns\n", fmt.Sprintf("\t\tbasic_auth {\nalice %s\nbob %[1]s\n}\nbestdns\n", hash), 1))
	for user, want := range map[string]int{"alice": 200, "bob": 401, "": 401} {
		request, err := http.NewRequest("GET", s.api+"/v1/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			request.SetBasicAuth(user, "secret")
		}
		if a := do(t, request); a.status != want {
			t.Errorf("%q: %d %s", user, a.status, a.body)
		}
	}
}

// TestUserNeedsAuthentication checks that a name alone makes no one a user: without
// a handler that checks the password, Basic authentication carries a token.
func TestUserNeedsAuthentication(t *testing.T) {
	s := newService(t)
	s.load(t, fmt.Sprintf("listen %s\nstore %q\nzone example.test {\nns ns1.example.test 127.0.0.1\n}\nclient web1 {\nuser alice\nallow under example.test\n}\n", s.dns, s.store))
	t.Cleanup(func() { clear(wrongTokens.limiters) })
	request, err := http.NewRequest("GET", s.api+"/v1/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("alice", "anything")
	if a := do(t, request); a.status != 401 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
