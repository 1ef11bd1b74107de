package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// This file runs third-party clients.

// legoEnv is what lego reads for its providers, in all of its versions.
func (r *clientRun) legoEnv() harness.Env {
	env := harness.Env{"LEGO_CA_CERTIFICATES": r.pebble.TLSRoot}
	switch r.by {
	case byRAW:
		env["HTTPREQ_MODE"] = "RAW"
		fallthrough
	case byHTTPReq:
		env["HTTPREQ_ENDPOINT"] = "http://" + r.api
		env["HTTPREQ_USERNAME"], env["HTTPREQ_PASSWORD"] = "lego", r.token
		env["HTTPREQ_POLLING_INTERVAL"] = "0"
	case byACMEDNS:
		env["ACME_DNS_API_BASE"], env["ACME_DNS_STORAGE_PATH"] = r.accountServer(), filepath.Join(r.dir, "accounts.json")
	case byUpdate:
		env["RFC2136_NAMESERVER"] = r.dns
		env["RFC2136_TSIG_KEY"], env["RFC2136_TSIG_SECRET"], env["RFC2136_TSIG_ALGORITHM"] = r.key.Name+".", r.key.Secret, "hmac-sha256."
		env["RFC2136_POLLING_INTERVAL"], env["RFC2136_SEQUENCE_INTERVAL"] = "0", "0"
	}
	return env
}

// legoObtain runs legodns or legodns5.
func legoObtain(program func(testing.TB) string) func(*clientRun, ...string) ([][]byte, string, error) {
	return func(r *clientRun, names ...string) (chains [][]byte, log string, err error) {
		file := filepath.Join(r.dir, strings.TrimPrefix(names[0], "*.")+".pem")
		env := r.legoEnv()
		env["PROVIDER"], _, _ = strings.Cut(r.by, " ")
		env["ACME_CA"], env["RESOLVER"], env["CERTIFICATE"] = r.pebble.Directory, r.resolver, file
		if log, err = r.exec(env, program(r.t), names...); err != nil {
			return nil, log, err
		}
		return read(file, log)
	}
}

// read returns the chain in a file.
func read(file, said string) (chains [][]byte, log string, err error) {
	chain, err := os.ReadFile(file)
	return [][]byte{chain}, said, err
}

// debianLegoObtain runs Debian's lego, which is built without acme-dns.
func debianLegoObtain(r *clientRun, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	file := filepath.Join(r.dir, "certificates", strings.Replace(names[0], "*", "_", 1)+".crt")
	provider, _, _ := strings.Cut(r.by, " ")
	args := []string{
		"--server", r.pebble.Directory, "--path", r.dir, "--email", "admin@example.net", "--accept-tos",
		"--dns", provider, "--dns.resolvers", r.resolver, "--dns.disable-cp",
	}
	for _, name := range names {
		args = append(args, "--domains", name)
	}
	if _, err := os.Stat(file); err == nil {
		args = append(args, "renew", "--days", "36500", "--no-random-sleep")
	} else {
		args = append(args, "run")
	}
	if log, err = r.exec(r.legoEnv(), harness.Debian(r.t, "lego", "lego"), args...); err != nil {
		return nil, log, err
	}
	return read(file, log)
}

// certbotObtain runs certbot with its plug-in or with the hooks.
func certbotObtain(r *clientRun, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	if r.by == byUpdate {
		return r.certbotByUpdates("HMAC-SHA256", names...)
	}
	return r.certbot(r.certbotHooks(), names...)
}

// certbotByUpdates runs certbot with its plug-in and an algorithm, "" for the default.
func (r *clientRun) certbotByUpdates(algorithm string, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	harness.DebianFile(r.t, "/usr/lib/python3/dist-packages/certbot_dns_rfc2136", "python3-certbot-dns-rfc2136")
	text := fmt.Sprintf("dns_rfc2136_server = %s\ndns_rfc2136_name = %s\ndns_rfc2136_secret = %s\n", r.dns, r.key.Name, r.key.Secret)
	if algorithm != "" {
		text += "dns_rfc2136_algorithm = " + algorithm + "\n"
	}
	return r.certbot([]string{
		"--authenticator", "dns-rfc2136", "--dns-rfc2136-credentials", r.write("rfc2136.ini", text), "--dns-rfc2136-propagation-seconds", "0",
	}, names...)
}

// certbot runs certbot, which remembers the authenticator for the renewal.
func (r *clientRun) certbot(authenticator []string, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	config, name := filepath.Join(r.dir, "config"), strings.TrimPrefix(names[0], "*.")
	file := filepath.Join(config, "live", name, "fullchain.pem")
	var args []string
	if _, err := os.Stat(file); err == nil {
		args = []string{"renew", "--force-renewal", "--no-random-sleep-on-renew"}
	} else {
		args = append([]string{"certonly", "--server", r.pebble.Directory, "--agree-tos", "--register-unsafely-without-email", "--domains", strings.Join(names, ",")}, authenticator...)
	}
	args = append(args, "--cert-name", name, "--non-interactive",
		"--config-dir", config, "--work-dir", filepath.Join(r.dir, "work"), "--logs-dir", filepath.Join(r.dir, "logs"))
	env := harness.Env{
		"REQUESTS_CA_BUNDLE": r.pebble.TLSRoot,
		"BESTDNS_URL":        "http://" + r.api, "BESTDNS_ACCOUNTS": r.dir, "BESTDNS_CURL": r.write("bestdns.curl", "user = \"certbot:"+r.token+"\"\n"),
	}
	if log, err = r.exec(env, harness.Debian(r.t, "certbot", "certbot"), args...); err != nil {
		return nil, log, err
	}
	return read(file, log)
}

// caddyObtain has a Caddy obtain a certificate for each name, and one with the same storage renew them.
func caddyObtain(r *clientRun, names ...string) (chains [][]byte, log string, err error) {
	r.t.Helper()
	storage := filepath.Join(r.dir, "storage")
	var files []string
	for _, name := range names {
		matches := harness.Must(filepath.Glob(filepath.Join(storage, "certificates", "*", strings.Replace(name, "*", "wildcard_", 1), "*.crt")))(r.t)
		files = append(files, matches...)
	}
	done, options := "certificate obtained successfully", "storage file_system "+storage
	if len(files) > 0 {
		// Caddy renews a certificate that becomes due before Caddy would look again.
		done, options = "certificate renewed successfully", options+"\nrenew_interval 87600h"
	}
	caddy := harness.StartCaddy(r.t, harness.CaddyBinary, "any.caddyfile", harness.Env{
		"ACME_CA": r.pebble.Directory, "ACME_CA_ROOT": r.pebble.TLSRoot, "OPTIONS": options,
		"BLOCKS": fmt.Sprintf("%s {\n\ttls {\n\t\tdns %s\n\t\tresolvers %s\n\t\tpropagation_timeout -1\n\t}\n\trespond ok\n}\n", strings.Join(names, ", "), r.caddyProvider(strings.TrimPrefix(names[0], "*.")), r.resolver),
	})
	defer caddy.Stop()
	refused := false
	caddy.Accept(func(e harness.Entry) bool {
		// The test stops it while it releases a lock.
		return refused || e.Message == "unable to clean up lock in storage backend" || e.Message == "unable to unlock"
	})
	err = caddy.Log.Wait(len(names), harness.ObtainTimeout, func(e harness.Entry) bool {
		refused = refused || e.Message == "could not get certificate from issuer"
		return e.Message == done || refused
	})
	if err != nil || refused {
		return nil, caddy.Log.String(), errors.Join(err, errors.New("there is no certificate"))
	}
	for _, name := range names {
		matches := harness.Must(filepath.Glob(filepath.Join(storage, "certificates", "*", strings.Replace(name, "*", "wildcard_", 1), "*.crt")))(r.t)
		if len(matches) != 1 {
			return nil, caddy.Log.String(), fmt.Errorf("%d certificates are stored for %s", len(matches), name)
		}
		chains = append(chains, harness.Must(os.ReadFile(matches[0]))(r.t))
	}
	return chains, "", nil
}

// caddyProvider is what the Caddyfile has of the DNS provider. Of acme-dns' it is one account, that of the
// client in the service's configuration, whose subdomain is the domain.
func (r *clientRun) caddyProvider(domain string) string {
	if r.by == byACMEDNS {
		return fmt.Sprintf("acmedns {\nusername any\npassword %s\nsubdomain %s\nserver_url http://%s\n}", r.token, domain, r.api)
	}
	return fmt.Sprintf("rfc2136 {\nserver %s:53\nkey_name %s\nkey_alg hmac-sha256\nkey %s\n}", r.dns, r.key.Name, r.key.Secret)
}
