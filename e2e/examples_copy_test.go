package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// webDigest is what the examples say is the digest of web1's token.
const webDigest = "sha256:3b64db95cb55c763391c707108489ae18b4112d783300de38e033b4c98c3deaf"

// copyExample returns a copy of a folder of examples that a test can run: with its
// options in each Caddyfile, and with one text instead of another wherever
// that is, which it must be somewhere. So ports, CAs and tokens become the test's, and
// all else is as users read it.
//
// The DNS records that the comments of a file ask for are made.
func copyExample(t testing.TB, w *harness.World, name string, replace map[string]string) (dir string) {
	t.Helper()
	source, dir := filepath.Join("..", "examples", name), t.TempDir()
	found := make(map[string]bool)
	err := filepath.WalkDir(source, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, inside), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(content)
		makeRecords(t, w, text)
		for old, new := range replace {
			found[old] = found[old] || strings.Contains(text, old)
			text = strings.ReplaceAll(text, old, new)
		}
		if !strings.Contains(inside, string(filepath.Separator)) && strings.Contains(strings.ToLower(inside), "caddyfile") {
			text = withOptions(t, text)
		}
		return os.WriteFile(filepath.Join(dir, inside), []byte(text), 0o600)
	})
	harness.NoError(t, err)
	for old := range replace {
		if !found[old] {
			t.Fatalf("nothing in examples/%s says %q", name, old)
		}
	}
	return dir
}

// withOptions adds the options of the tests to a Caddyfile.
func withOptions(t testing.TB, caddyfile string) string {
	t.Helper()
	options := "\timport " + harness.Testdata(t, "harness.caddyfile") + "\n"
	if !strings.Contains(caddyfile, "acme_ca") {
		options += "\timport " + harness.Testdata(t, "acme.caddyfile") + "\n"
	}
	if before, after, ok := strings.Cut(caddyfile, "\n{\n"); ok {
		return before + "\n{\n" + options + after
	}
	return "{\n" + options + "}\n" + caddyfile
}

var recordInComment = regexp.MustCompile(`(?m)^#\t(\S+\.)\s+(NS|A|CNAME)\s+(\S+)$`)

// makeRecords makes the records of a file's comments: the name server of a zone that
// is delegated is the service's.
func makeRecords(t testing.TB, w *harness.World, text string) {
	t.Helper()
	for _, m := range recordInComment.FindAllStringSubmatch(text, -1) {
		owner, typ, data := m[1], m[2], m[3]
		if typ == "NS" {
			w.Resolver.Delegate(owner, w.DNS)
			continue
		}
		labels := dns.SplitDomainName(owner)
		zone := strings.Join(labels[len(labels)-2:], ".")
		w.Resolver.Host(t, zone, owner+" 60 IN "+typ+" "+data)
	}
}

// withBuiltin are the replacements for a service with zones of its own.
func withBuiltin(w *harness.World) map[string]string {
	return map[string]string{"\tbestdns {\n": "\tbestdns {\n\t\tlisten " + w.DNS + "\n\t\tstore " + w.Store + "\n"}
}

// withAPI are those for the site that serves the API under a name: the recorder has
// it at an address, too.
func withAPI(t testing.TB, w *harness.World, site string) map[string]string {
	t.Helper()
	return map[string]string{
		"\n" + site + " {\n": "\nhttp://127.0.0.1:" + harness.Port(t, w.API) + " {\n\tbestdns\n}\n\n" + site + " {\n",
		webDigest:            harness.Digest(w.Token),
	}
}

// endpointOf returns the recorder's URL as a Caddyfile gives it, with what its
// certificate needs.
func endpointOf(w *harness.World) string {
	return w.Recorder.URL + " {\n\t\t\ttrusted_roots " + w.Recorder.TLSRoot + "\n\t\t}"
}
