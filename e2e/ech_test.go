package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// outer is the name that an ECH client shows to everyone.
const outer = "outer." + harness.HostedZone

// Caddy publishes its ECH configuration in the HTTPS record of a site. The
// record is found in DNS, still has the parameters that it had before, and
// leads a TLS client to Caddy without a word about the site's name.
func TestECH(t *testing.T) {
	t.Parallel()
	const (
		global   = "dns $PROVIDER\n acme_dns\n tls_resolvers $RESOLVER\n ech " + outer
		separate = "acme_dns $PROVIDER\n tls_resolvers $RESOLVER\n ech " + outer + " {\n dns $PROVIDER\n }"
		site     = "$SITE {\n respond hello\n}"
	)
	form := func(w *harness.World, options, provider string) harness.Env {
		env := w.Env(t)
		env["SITE"], env["PROVIDER"] = web, provider
		return form{options: options, blocks: site}.caddyfile(env)
	}
	needed := rights("certificates "+web, "certificates "+outer, "allow "+web+" HTTPS")

	for name, options := range map[string]string{"by API": global, "by API, with a provider of its own": separate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t)
			harness.StartCaddy(t, harness.CaddyBinary, "rights.caddyfile", w.Env(t), needed)
			addSite(t, w)
			client := harness.StartCaddy(t, resolving(t, w, harness.ClientBinary), "any.caddyfile", w.Env(t), form(w, options, providerByAPI))
			assertECH(t, w, client)
		})
	}

	// The publisher asks once, and then not for an hour. So in one process the
	// name server has to be there first: ECH comes with a second config.
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		w := harness.NewWorld(t)
		caddy := harness.StartCaddy(t, resolving(t, w, harness.CaddyBinary), "rights.caddyfile", w.Env(t), needed, form(w, global, providerInProcess))
		addSite(t, w)
		caddy.Reload("any.caddyfile")
		assertECH(t, w, caddy)
	})
}

// resolving returns a program that is binary in a mount namespace in which the
// system's resolver is that of the world. Caddy's ECH publisher asks no other.
func resolving(t *testing.T, w *harness.World, binary string) string {
	t.Helper()
	dir := t.TempDir()
	resolvConf := filepath.Join(dir, "resolv.conf")
	// A port is certmagic's own liberty; what else reads the file ignores the line.
	if err := os.WriteFile(resolvConf, []byte("nameserver "+w.Resolver.Addr+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const mount = `mount --bind "$0" /etc/resolv.conf && exec "$@"`
	if out, err := exec.Command("unshare", "-m", "sh", "-c", mount, resolvConf, "true").CombinedOutput(); err != nil {
		harness.Cannot(t, fmt.Sprintf("a mount namespace with a resolv.conf of its own needs root: %v: %s", err, out))
	}
	script := fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c '%s' '%s' '%s' \"$@\"\n", mount, resolvConf, binary)
	program := filepath.Join(dir, "caddy")
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// addSite gives the site an address and an HTTPS record with parameters.
func addSite(t *testing.T, w *harness.World) {
	t.Helper()
	operator := &bestdns.Provider{Endpoint: w.Recorder.URL, APIToken: w.Reader, TrustedRoots: []string{w.Recorder.TLSRoot}}
	_, err := operator.AppendRecords(t.Context(), harness.HostedZone+".", []libdns.Record{
		libdns.Address{Name: "web", IP: netip.MustParseAddr("127.0.0.1")},
		libdns.ServiceBinding{Scheme: "https", Name: "web", Priority: 1, Target: ".", Params: libdns.SvcParams{
			"mandatory": {"ipv4hint", "port"},
			"alpn":      {"h2"},
			"port":      {"8443"},
			"ipv4hint":  {"192.0.2.7", "192.0.2.8"},
			"ipv6hint":  {"2001:db8::7"},
			"key667":    {`a "b" \c`},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func assertECH(t *testing.T, w *harness.World, caddy *harness.Caddy) {
	t.Helper()
	caddy.WaitCertificates(web, outer)
	published := harness.Message("successfully published ECH configuration list for all domains")
	if err := caddy.Log.Wait(1, harness.ObtainTimeout, published); err != nil {
		t.Fatalf("waiting for ECH: %v", err)
	}

	record := httpsRecord(t, w)
	params := make(map[string]string)
	var list []byte
	for _, param := range record.Value {
		if ech, ok := param.(*dns.SVCBECHConfig); ok {
			list = ech.ECH
			continue
		}
		params[param.Key().String()] = param.String()
	}
	want := map[string]string{
		"mandatory": "port,ipv4hint",  // in the order of their numbers
		"alpn":      "h3,h2,http/1.1", // Caddy's own
		"port":      "8443",
		"ipv4hint":  "192.0.2.7,192.0.2.8",
		"ipv6hint":  "2001:db8::7",
		"key667":    `a\ \"b\"\ \\c`,
	}
	if diff := cmp.Diff(want, params); diff != "" {
		t.Errorf("the parameters beside ech (-want +got):\n%s", diff)
	}
	names, err := publicNames(list)
	if err != nil {
		t.Fatalf("the configuration %x: %v", list, err)
	}
	if diff := cmp.Diff([]string{outer}, names); diff != "" {
		t.Errorf("the public names (-want +got):\n%s", diff)
	}

	conn, err := tls.Dial("tcp", caddy.HTTPS, &tls.Config{
		ServerName: web, RootCAs: w.Pebble.Roots, MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: list,
	})
	if err != nil {
		t.Fatalf("connecting with ECH: %v", err)
	}
	defer conn.Close()
	if !conn.ConnectionState().ECHAccepted {
		t.Error("Caddy did not accept the configuration that it published")
	}
	harness.AssertNames(t, conn.ConnectionState().PeerCertificates[0], []string{web})
}

// httpsRecord asks for the HTTPS record of the site.
func httpsRecord(t *testing.T, w *harness.World) *dns.HTTPS {
	t.Helper()
	query := new(dns.Msg).SetQuestion(web+".", dns.TypeHTTPS)
	answer, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(query, w.Resolver.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Answer) != 1 {
		t.Fatalf("there are %d HTTPS records, want 1:\n%s", len(answer.Answer), answer)
	}
	record, ok := answer.Answer[0].(*dns.HTTPS)
	if !ok {
		t.Fatalf("the answer is %s", answer.Answer[0])
	}
	return record
}

// publicNames reads the public names out of an ECHConfigList (RFC 9849 §4).
func publicNames(list []byte) ([]string, error) {
	const version = 0xfe0d
	data := cryptobyte.String(list)
	var configs cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&configs) || !data.Empty() {
		return nil, errors.New("the list is not as long as it says")
	}
	var names []string
	for !configs.Empty() {
		var v uint16
		var config, publicKey, suites, name cryptobyte.String
		if !configs.ReadUint16(&v) || !configs.ReadUint16LengthPrefixed(&config) || v != version {
			return nil, fmt.Errorf("not a configuration of version %x", version)
		}
		if !config.Skip(3) || // id and KEM
			!config.ReadUint16LengthPrefixed(&publicKey) ||
			!config.ReadUint16LengthPrefixed(&suites) ||
			!config.Skip(1) || // the length of the longest name
			!config.ReadUint8LengthPrefixed(&name) {
			return nil, errors.New("a configuration is too short")
		}
		names = append(names, string(name))
	}
	return names, nil
}
