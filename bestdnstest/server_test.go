package bestdnstest_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/bestdnstest"
)

const value = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"

func TestServer(t *testing.T) {
	server := bestdnstest.Start(t, "example.org", "example.net.")
	provider := server.Provider()
	ctx := t.Context()
	txt := libdns.TXT{Name: "www", TTL: time.Minute, Text: "hello"}
	if _, err := provider.AppendRecords(ctx, "example.org.", []libdns.Record{txt}); err != nil {
		t.Fatal(err)
	}
	if found, err := server.Resolver().LookupTXT(ctx, "www.example.org"); err != nil || !slices.Equal(found, []string{"hello"}) {
		t.Errorf("DNS has %q, %v", found, err)
	}
	records, err := provider.GetRecords(ctx, "example.org.")
	if err != nil || !slices.Contains(records, libdns.Record(txt)) {
		t.Errorf("the API has %v, %v", records, err)
	}
	zones, err := provider.ListZones(ctx)
	if want := []libdns.Zone{{Name: "example.net."}, {Name: "example.org."}}; err != nil || !slices.Equal(zones, want) {
		t.Errorf("zones: %v, %v", zones, err)
	}
	if _, err := provider.DeleteRecords(ctx, "example.org.", []libdns.Record{txt}); err != nil {
		t.Fatal(err)
	}
	if found, err := server.Resolver().LookupTXT(ctx, "www.example.org"); err == nil {
		t.Errorf("after the delete, DNS has %q", found)
	}
}

// TestRights: a token that is made later leaves the others what they are.
func TestRights(t *testing.T) {
	server := bestdnstest.Start(t, "example.org")
	web1 := server.Provider("certificates web1.example.org")
	elsewhere := server.Provider("certificates www.example.com")
	challenge := func(name string) []libdns.Record { return []libdns.Record{libdns.TXT{Name: name, Text: value}} }
	if _, err := web1.AppendRecords(t.Context(), "example.org.", challenge("_acme-challenge.web1")); err != nil {
		t.Error(err)
	}
	var refused *bestdns.Error
	if _, err := web1.AppendRecords(t.Context(), "example.org.", challenge("_acme-challenge.web2")); !errors.As(err, &refused) || refused.Status != 403 || !refused.Unchanged {
		t.Errorf("another name: %v", err)
	}
	if _, err := elsewhere.AppendRecords(t.Context(), "example.com.", challenge("_acme-challenge.www")); err != nil {
		t.Error(err)
	}
	if found, err := server.Resolver().LookupTXT(t.Context(), "www.example.com.example.org"); err != nil || !slices.Equal(found, []string{value}) {
		t.Errorf("at the target of the CNAME, DNS has %q, %v", found, err)
	}
	if _, err := (&bestdns.Provider{Endpoint: server.URL, APIToken: web1.APIToken[:len(web1.APIToken)-1] + "x"}).ListZones(t.Context()); err == nil {
		t.Error("a token that is not one is accepted")
	}
}

// TestCertmagic has certmagic's solver answer a challenge.
func TestCertmagic(t *testing.T) {
	server := bestdnstest.Start(t, "example.org")
	solver := &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider:        server.Provider("certificates web1.example.org"),
		Resolvers:          []string{server.DNS},
		PropagationTimeout: -1,
	}}
	challenge := acme.Challenge{Identifier: acme.Identifier{Type: "dns", Value: "web1.example.org"}, KeyAuthorization: "a key authorization"}
	if err := solver.Present(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	want := []string{challenge.DNS01KeyAuthorization()}
	if found, err := server.Resolver().LookupTXT(t.Context(), challenge.DNS01TXTRecordName()); err != nil || !slices.Equal(found, want) {
		t.Errorf("DNS has %q, %v, want %q", found, err, want)
	}
	if err := solver.CleanUp(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	if found, err := server.Resolver().LookupTXT(t.Context(), challenge.DNS01TXTRecordName()); err == nil {
		t.Errorf("after the challenge, DNS has %q", found)
	}
}
