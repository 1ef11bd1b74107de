package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// nsupdate finds the zone of a name, adds and deletes values there, and is refused other names, over UDP
// and TCP, in each kind of zone.
func TestNSUpdate(t *testing.T) {
	t.Parallel()
	var runs []*clientRun
	var config strings.Builder
	var aliases []string
	for _, zone := range []string{clientsBuiltin, clientsKnot, clientsModule, clientsAliases} {
		for _, network := range []string{"UDP", "TCP"} {
			r := newClientRun(clientRow{client: "nsupdate", by: network, zone: zone}, len(runs))
			runs = append(runs, r)
			config.WriteString(r.config())
			if zone == clientsAliases {
				aliases = append(aliases, r.domain)
			}
		}
	}
	w := newClientsWorld(t, config.String(), aliases)
	for _, r := range runs {
		t.Run(r.by+", "+r.zone, func(t *testing.T) {
			t.Parallel()
			r.t, r.clientsWorld, r.dir = t, w, t.TempDir()
			r.nsupdateAll()
		})
	}
}

// challengeValue returns what looks like the answer to a challenge.
func challengeValue(of string) string { return strings.Repeat(of, 43)[:43] }

func (r *clientRun) nsupdateAll() {
	name := "_acme-challenge." + r.domain + "."
	one, two := challengeValue("1"), challengeValue("2")
	for _, step := range []struct {
		update string
		want   []string
	}{
		{"update add " + name + " 300 TXT " + one, []string{one}},
		{"update add " + name + " 300 TXT " + two, []string{one, two}},
		{"update delete " + name + " TXT " + one, []string{two}},
		{"update add " + name + " 300 TXT " + one, []string{one, two}},
		{"update delete " + name + " TXT", nil}, // as acme.sh does
	} {
		if log, err := r.nsupdate(r.key, "hmac-sha256", step.update); err != nil {
			r.t.Fatalf("%s: %v\n%s", step.update, err, log)
		}
		r.assertTexts(name, step.want)
	}
	r.nsupdatePrerequisites(name, one)
	other := "_acme-challenge.other." + r.domain + "."
	refused := make(map[string]int)
	for _, update := range []string{
		"update add " + other + " 300 TXT " + one,
		"update delete " + other + " TXT",
		"update delete " + other,
		"update add " + name + " 300 TXT other",
		"update add " + r.domain + ". 300 A 192.0.2.1",
	} {
		log, err := r.nsupdate(r.key, "hmac-sha256", update)
		if err == nil || !strings.Contains(log, "REFUSED") && !strings.Contains(log, "NOTAUTH") {
			r.t.Errorf("%s: %v\n%s", update, err, log)
		}
		owner := strings.Fields(update)[2]
		refused[owner]++
		r.service.Log.AwaitAudit(r.t, r.id, refused[owner], func(l harness.AuditLine) bool {
			return l.Outcome == "refused" && strings.HasPrefix(strings.Join(l.Records, ","), owner+" ")
		})
	}
	if r.zone == clientsBuiltin {
		r.nsupdateUnknown("update add " + name + " 300 TXT " + one)
	}
	r.assertTexts(name, nil)
}

// nsupdatePrerequisites sends updates with prerequisites (RFC 2136 §2.4) about a name that has no records.
// If a prerequisite is not met, the answer says which kind.
func (r *clientRun) nsupdatePrerequisites(name, value string) {
	add, remove := "update add "+name+" 300 TXT "+value, "update delete "+name+" TXT "+value
	for _, step := range []struct {
		prerequisite, update string
		says                 string // "" if it is made
		want                 []string
	}{
		{"prereq yxdomain " + name, add, "NXDOMAIN", nil},
		{"prereq yxrrset " + name + " TXT", add, "NXRRSET", nil},
		{"prereq nxrrset " + name + " TXT", add, "", []string{value}},
		{"prereq nxdomain " + name, remove, "YXDOMAIN", []string{value}},
		{"prereq nxrrset " + name + " TXT", remove, "YXRRSET", []string{value}},
		{"prereq yxrrset " + name + " TXT other", remove, "NXRRSET", []string{value}},
		{"prereq yxrrset " + name + " TXT " + value, remove, "", nil},
	} {
		log, err := r.nsupdate(r.key, "hmac-sha256", step.prerequisite, step.update)
		if (err == nil) != (step.says == "") || !strings.Contains(log, step.says) {
			r.t.Errorf("%s, %s: %v, want %q\n%s", step.prerequisite, step.update, err, step.says, log)
		}
		r.assertTexts(name, step.want)
	}
}

// nsupdateUnknown sends an update without a key, with a wrong secret and with an unknown key.
func (r *clientRun) nsupdateUnknown(update string) {
	secret := r.key
	secret.Secret = harness.NewKey().Secret
	for _, unknown := range []struct {
		name string
		key  harness.Key
		says string
	}{
		{"no key", harness.Key{}, "REFUSED"},
		{"another secret", secret, "BADSIG"},
		{"another key", harness.NewKey(), "BADKEY"},
	} {
		if log, err := r.nsupdate(unknown.key, "hmac-sha256", update); err == nil || !strings.Contains(log, unknown.says) {
			r.t.Errorf("with %s: %v\n%s", unknown.name, err, log)
		}
	}
}

// nsupdate sends one message, as the lines say.
func (r *clientRun) nsupdate(key harness.Key, algorithm string, lines ...string) (log string, err error) {
	r.t.Helper()
	file := r.write("commands", fmt.Sprintf("server %s\n%s\nsend\n", r.dns, strings.Join(lines, "\n")))
	var args []string
	if key != (harness.Key{}) {
		args = append(args, "-k", r.write("nsupdate.key", fmt.Sprintf("key %q { algorithm %s; secret %q; };\n", key.Name, algorithm, key.Secret)))
	}
	if r.by == "TCP" {
		args = append(args, "-v")
	}
	return r.exec(nil, harness.Debian(r.t, "nsupdate", "bind9-dnsutils"), append(args, file)...)
}

// assertTexts fails the test unless these are the texts where the challenges at a name are answered, as the
// zone's name server and the resolver have it.
func (r *clientRun) assertTexts(name string, want []string) {
	r.t.Helper()
	at := name
	if r.zone == clientsAliases {
		at = r.domain + "." + clientsTarget
	}
	for server, asked := range map[string]string{r.server(at): at, r.resolver: name} {
		got, _, err := harness.TextsAt(server, asked)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			r.t.Errorf("%s has at %s: %v (-want +got):\n%s", server, asked, err, diff)
		}
	}
}

// The default of certbot's plug-in, HMAC-MD5, is refused, and the log names the setting.
func TestMD5(t *testing.T) {
	t.Parallel()
	r := newClientRun(clientRow{client: "certbot", by: byUpdate, zone: clientsBuiltin}, 0)
	r.t, r.clientsWorld, r.dir = t, newClientsWorld(t, r.config(), nil), t.TempDir()
	for _, algorithm := range []string{"", "HMAC-MD5"} {
		_, log, err := r.certbotByUpdates(algorithm, "*."+r.domain)
		if err == nil || !strings.Contains(log, "The peer didn't know the key we used") {
			t.Errorf("certbot with the algorithm %q: %v\n%s", algorithm, err, log)
		}
	}
	if log, err := r.nsupdate(r.key, "hmac-md5", "update add _acme-challenge."+r.domain+". 300 TXT "+challengeValue("1")); err == nil || !strings.Contains(log, "BADKEY") {
		t.Errorf("nsupdate: %v\n%s", err, log)
	}
	if err := r.service.Log.Wait(1, harness.StartTimeout, func(e harness.Entry) bool {
		return e.Message == "a request was refused" && strings.Contains(e.Line, "certbot: dns_rfc2136_algorithm = HMAC-SHA256") && strings.Contains(e.Line, "nsupdate: -y hmac-sha256:NAME:SECRET")
	}); err != nil {
		t.Errorf("the service's log names no setting: %v", err)
	}
	if lines := r.service.Log.Audit(r.id); lines != nil {
		t.Errorf("in the service's log: %+v", lines)
	}
	if chain, log, err := r.certbotByUpdates("HMAC-SHA256", "*."+r.domain); err != nil {
		t.Errorf("certbot with the setting: %v\n%s", err, log)
	} else {
		harness.AssertIssued(t, chain[0], r.pebble, "*."+r.domain)
	}
}
