package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// clientRow is a third-party client that obtains certificates for a domain.
type clientRow struct {
	// client is a program, by the protocol that it speaks, and zone where the domain is.
	client, by, zone string
	// obtain has it obtain a certificate for the names; and if it has been called for them before, renew
	// it. It returns the chains, one for all names or one for each, and what the program printed.
	obtain func(r *clientRun, names ...string) (chains [][]byte, log string, err error)
	// accounts is set for one that uses an account of acme-dns. prepare registers it.
	accounts bool
	prepare  func(r *clientRun)
}

// The protocols, and ways to speak them.
const (
	byHTTPReq = "httpreq"
	byRAW     = "httpreq RAW"
	byACMEDNS = "acme-dns"
	byUpdate  = "rfc2136"
)

// clientRows are the clients that run here. Of those that do not, what they send is in
// clients_answers_test.go.
var clientRows = slices.Concat(
	rowsIn(clientsBuiltin, "lego 4", legoObtain(harness.LegoDNS), byHTTPReq, byRAW, byUpdate),
	rowsIn(clientsBuiltin, "lego 5", legoObtain(harness.LegoDNS5), byHTTPReq, byRAW, byUpdate),
	rowsIn(clientsBuiltin, "Debian's lego", debianLegoObtain, byHTTPReq, byRAW, byUpdate),
	rowsIn(clientsBuiltin, "certbot", certbotObtain, byHTTPReq, byUpdate),
	rowsIn(clientsBuiltin, "dehydrated", dehydratedObtain, byUpdate),
	rowsIn(clientsBuiltin, "Caddy", caddyObtain, byUpdate),
	rowsIn(clientsAccounts, "Caddy", caddyObtain, byACMEDNS),
	[]clientRow{
		{client: "lego 4", by: byACMEDNS, zone: clientsBuiltin, obtain: legoObtain(harness.LegoDNS), accounts: true, prepare: byErrCNAMERequired},
		{client: "lego 5", by: byACMEDNS, zone: clientsBuiltin, obtain: legoObtain(harness.LegoDNS5), accounts: true, prepare: byErrCNAMERequired},
		{client: "certbot", by: byACMEDNS, zone: clientsBuiltin, obtain: certbotObtain, accounts: true, prepare: byCurl},
	},
	rowsIn(clientsKnot, "lego 4", legoObtain(harness.LegoDNS), byUpdate),
	rowsIn(clientsKnot, "lego 5", legoObtain(harness.LegoDNS5), byUpdate),
	rowsIn(clientsKnot, "certbot", certbotObtain, byUpdate),
	rowsIn(clientsModule, "lego 4", legoObtain(harness.LegoDNS), byHTTPReq),
	rowsIn(clientsModule, "lego 5", legoObtain(harness.LegoDNS5), byUpdate),
	rowsIn(clientsAliases, "lego 4", legoObtain(harness.LegoDNS), byHTTPReq, byUpdate),
	rowsIn(clientsAliases, "certbot", certbotObtain, byUpdate),
)

// rowsIn returns the rows of a client with a domain in a zone, one for each protocol.
func rowsIn(zone, client string, obtain func(*clientRun, ...string) ([][]byte, string, error), by ...string) (rows []clientRow) {
	for _, protocol := range by {
		rows = append(rows, clientRow{client: client, by: protocol, zone: zone, obtain: obtain})
	}
	return rows
}

// clientRun is a row as it is run.
type clientRun struct {
	clientRow
	*clientsWorld
	t *testing.T
	// id is its client's name in the service's configuration, and the first label of its domain.
	id, token string
	key       harness.Key
	domain    string
	dir       string // for its files
}

func newClientRun(row clientRow, n int) *clientRun {
	id := fmt.Sprintf("c%d", n)
	key := harness.NewKey()
	key.Name = id
	return &clientRun{clientRow: row, id: id, token: api.NewToken(), key: key, domain: id + "." + row.zone}
}

func (r *clientRun) String() string { return r.client + ", " + r.by + ", " + r.zone }

// config is the client in the service's configuration.
func (r *clientRun) config() string {
	right := "certificates " + r.domain
	if r.accounts {
		right = fmt.Sprintf("register under %s\n\taccount_secret %s", clientsAccounts, r.key.Secret)
	}
	return fmt.Sprintf("client %s {\n\ttoken %s\n\ttsig %s hmac-sha256 %s\n\t%s\n}\n", r.id, harness.Digest(r.token), r.key.Name, r.key.Secret, right)
}

// Third-party clients obtain a wildcard certificate by the protocol that they speak, renew it, are refused
// another name by the service, and leave nothing behind.
func TestThirdPartyClientsObtain(t *testing.T) {
	t.Parallel()
	var config strings.Builder
	var runs []*clientRun
	var aliases []string
	for n, row := range clientRows {
		r := newClientRun(row, n)
		runs = append(runs, r)
		config.WriteString(r.config())
		if row.zone == clientsAliases {
			aliases = append(aliases, r.domain)
		}
	}
	several := newClientRun(clientRow{client: "lego 5", by: byACMEDNS, zone: clientsBuiltin, obtain: legoObtain(harness.LegoDNS5), accounts: true}, len(runs))
	config.WriteString(several.config())
	w := newClientsWorld(t, config.String(), aliases)
	t.Run("clients", func(t *testing.T) {
		for _, r := range runs {
			t.Run(r.String(), func(t *testing.T) {
				t.Parallel()
				r.t, r.clientsWorld, r.dir = t, w, t.TempDir()
				r.run()
			})
		}
		t.Run("several names by one account", func(t *testing.T) {
			t.Parallel()
			several.t, several.clientsWorld, several.dir = t, w, t.TempDir()
			several.obtainSeveral()
		})
	})
	// No client of acme-dns deletes anything.
	for _, zone := range clientsZones {
		within := 10 * time.Second
		if zone == clientsAccounts {
			within += clientsLifetime
		}
		harness.Eventually(t, within, "no text is left in "+zone, func() bool { return len(w.textNames(t, zone)) == 0 })
	}
}

func (r *clientRun) run() {
	if r.prepare != nil {
		r.prepare(r)
	}
	names := []string{"*." + r.domain, r.domain}
	before := r.pebble.Orders(names[0])
	first := r.mustObtain(names...)
	second := r.mustObtain(names...)
	if cmp.Equal(serials(r.t, first), serials(r.t, second)) {
		r.t.Error("the certificate was not renewed")
	}
	if got := r.pebble.Orders(names[0]) - before; got != 2 {
		r.t.Errorf("%d orders for a certificate and its renewal", got)
	}
	if got := r.pebble.Validations(r.domain); got < 3 {
		r.t.Errorf("the CA has looked at %d challenges", got)
	}
	r.assertGone("_acme-challenge." + r.domain)
	r.assertChanged()
	r.assertRefused("other." + r.domain)
}

// mustObtain has the client obtain what it may.
func (r *clientRun) mustObtain(names ...string) (chains [][]byte) {
	r.t.Helper()
	chains, log, err := r.obtain(r, names...)
	if err != nil {
		r.t.Fatalf("%s does not obtain %q: %v\n%s", r.client, names, err, log)
	}
	for i, chain := range chains {
		if len(chains) == 1 {
			harness.AssertIssued(r.t, chain, r.pebble, names...)
		} else {
			harness.AssertIssued(r.t, chain, r.pebble, names[i])
		}
	}
	if len(chains) != 1 && len(chains) != len(names) {
		r.t.Fatalf("%d certificates for %q", len(chains), names)
	}
	return chains
}

// serials are the serial numbers of certificates.
func serials(t testing.TB, chains [][]byte) (numbers []string) {
	t.Helper()
	for _, chain := range chains {
		block, _ := pem.Decode(chain)
		numbers = append(numbers, harness.Must(x509.ParseCertificate(block.Bytes))(t).SerialNumber.String())
	}
	return numbers
}

// assertGone waits until no text is left at a name, where it is and where its challenges are, as far as
// its client deletes any.
func (r *clientRun) assertGone(name string) {
	r.t.Helper()
	if r.by == byACMEDNS {
		return
	}
	if r.zone == clientsAliases {
		name = strings.TrimPrefix(name, "_acme-challenge.") + "." + clientsTarget
	}
	harness.Eventually(r.t, 10*time.Second, "no text is left at "+name, func() bool {
		texts, _, err := harness.TextsAt(r.server(name), name)
		return err == nil && len(texts) == 0
	})
}

// assertChanged fails the test unless it was the client that has answered each challenge, as the log has it.
func (r *clientRun) assertChanged() {
	r.t.Helper()
	n := r.pebble.Validations(r.domain)
	want := map[string]int{"append": n, "delete": n}
	switch {
	case r.by == byACMEDNS:
		want = map[string]int{"append": n}
	case r.by == byUpdate && strings.Contains(r.client, "lego"): // which adds a value and deletes those before it at once
		want = map[string]int{"update": n, "delete": n}
	}
	r.service.Log.AwaitAudit(r.t, r.id, want["append"]+want["delete"]+want["update"], func(harness.AuditLine) bool { return true })
	protocol, _, _ := strings.Cut(r.by, " ")
	got := make(map[string]int)
	for _, line := range r.service.Log.Audit(r.id) {
		if line.Outcome != "changed" || line.Protocol != protocol {
			r.t.Errorf("in the service's log: %+v", line)
		}
		got[line.Op]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("the changes of %s (-want +got):\n%s", r.client, diff)
	}
}

// assertRefused has the client try to obtain a certificate for a domain for which it has no right.
func (r *clientRun) assertRefused(domain string) {
	r.t.Helper()
	if r.accounts {
		r.asClient(domain)
	}
	_, log, err := r.obtain(r, "*."+domain)
	if err == nil {
		r.t.Fatalf("%s has obtained a certificate for %s:\n%s", r.client, domain, log)
	}
	want := "_acme-challenge." + domain + ". TXT"
	r.service.Log.AwaitAudit(r.t, r.id, 1, func(l harness.AuditLine) bool {
		return l.Outcome == "refused" && (l.Status == 403 || l.Status == 404) && slices.Contains(l.Records, want)
	})
	if r.t.Failed() {
		r.t.Logf("%s has said: %s", r.client, log)
	}
	r.assertGone("_acme-challenge." + domain)
}

// obtainSeveral obtains one certificate for five names, whose challenges one account answers: acme-dns
// keeps two values, so that the third pushes the first out.
func (r *clientRun) obtainSeveral() {
	account := r.register()
	accounts := make(map[string]storedAccount)
	var names []string
	for _, label := range []string{"a", "b", "c"} {
		domain := label + "." + r.domain
		accounts[domain] = account
		names = append(names, domain)
		r.alias(r.t, "_acme-challenge."+domain, account.Fulldomain)
	}
	names = append(names, "*."+names[0], "*."+names[1])
	r.write("accounts.json", accounts)
	r.mustObtain(names...)
	texts, _, err := harness.TextsAt(r.server(account.Fulldomain), account.Fulldomain)
	if err != nil || len(texts) != len(names) {
		r.t.Errorf("%d values are kept for %d names: %v", len(texts), len(names), err)
	}
}

// storedAccount is an account as clients of acme-dns keep it.
type storedAccount struct {
	Fulldomain string `json:"fulldomain"`
	Subdomain  string `json:"subdomain"`
	Username   string `json:"username"`
	Password   string `json:"password"`
	ServerURL  string `json:"server_url,omitempty"`
}

// byErrCNAMERequired has lego register an account, for which it asks for a CNAME, and makes that.
func byErrCNAMERequired(r *clientRun) {
	_, log, err := r.obtain(r, "*."+r.domain)
	wanted := regexp.MustCompile(`(_acme-challenge\.[\w.-]+) CNAME ([\w.-]+)`).FindStringSubmatch(log)
	if err == nil || wanted == nil {
		r.t.Fatalf("%s asks for no CNAME: %v\n%s", r.client, err, log)
	}
	if name := "_acme-challenge." + r.domain + "."; wanted[1] != name || !strings.HasSuffix(wanted[2], "."+clientsAccounts+".") {
		r.t.Fatalf("%s asks for a CNAME from %s to %s", r.client, wanted[1], wanted[2])
	}
	r.alias(r.t, wanted[1], wanted[2])
}

// byCurl registers an account as the hook of certbot says, and makes the CNAME.
func byCurl(r *clientRun) {
	account := r.register()
	r.write(r.domain+".account", account)
	r.alias(r.t, "_acme-challenge."+r.domain, account.Fulldomain)
}

// register has curl register an account.
func (r *clientRun) register() (account storedAccount) {
	r.t.Helper()
	out := harness.Must(exec.Command(harness.Debian(r.t, "curl", "curl"), "-fsS", "-X", "POST", "-H", "Authorization: Bearer "+r.token, "http://"+r.api+"/register").Output())(r.t)
	harness.NoError(r.t, json.Unmarshal(out, &account))
	return account
}

// asClient has a client of acme-dns answer the challenges of a domain by the token of the client in the
// configuration instead of an account.
func (r *clientRun) asClient(domain string) {
	r.t.Helper()
	account := storedAccount{Fulldomain: "_acme-challenge." + domain, Subdomain: domain, Username: "any", Password: r.token}
	r.write("accounts.json", map[string]storedAccount{domain: account})
	r.write(domain+".account", account)
}

// accountServer is the URL of acme-dns for one that has no credential to register.
func (r *clientRun) accountServer() string { return "http://" + r.api + "/r/" + r.token }

// write writes a file of the client's as JSON, or text as it is.
func (r *clientRun) write(file string, content any) (path string) {
	r.t.Helper()
	text, isText := content.(string)
	if !isText {
		text = string(harness.Must(json.Marshal(content))(r.t))
	}
	path = filepath.Join(r.dir, file)
	harness.NoError(r.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// exec runs a program, and returns all that it prints.
func (r *clientRun) exec(env harness.Env, program string, args ...string) (log string, err error) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), program, args...)
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	harness.AssertNoToken(r.t, filepath.Base(program)+"'s output", string(out))
	return string(out), err
}
