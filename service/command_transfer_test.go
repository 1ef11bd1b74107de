package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// startWithAdmin starts a service whose Caddy has an admin endpoint.
func startWithAdmin(t *testing.T) *service {
	t.Helper()
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, s.standard())
	return s
}

// run runs a command against the service, with a text as its standard input.
func (s *service) run(t *testing.T, cmd *cobra.Command, input string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader(input))
	cmd.SilenceUsage = true
	cmd.SetArgs(append(args, "--address", s.admin))
	err := cmd.Execute()
	return out.String(), err
}

// TestExportImport moves a zone into another service and finds no difference.
func TestExportImport(t *testing.T) {
	s := startWithAdmin(t)
	s.must(t, "ops", "example.test", `{"append":[
		{"name":"www","type":"A","ttl":300,"data":"192.0.2.1"},
		{"name":"*.wild","type":"TXT","data":"quotes \" and ; and \\"},
		{"name":"a\\.b","type":"CNAME","data":"www.example.test."},
		{"name":"mail","type":"MX","data":"10 mx.example.net."},
		{"name":"x","type":"TYPE65280","data":"\\# 3 010203"}]}`)
	s.must(t, "web1", "example.test", `{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":"`+challengeValue+`"}]}`)
	file, err := s.run(t, exportCommand(), "", "example.test")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(file, "$ORIGIN example.test.\n$TTL 60\n") || strings.Contains(file, challengeValue) || !strings.Contains(file, "left out: 1 ") {
		t.Errorf("exported:\n%s", file)
	}
	before := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body
	caddy.Stop()

	other := startWithAdmin(t)
	out, err := other.run(t, importCommand(), file, "example.test", "-")
	if err != nil || !strings.HasPrefix(out, "The zone had 3 records, and has 8 with the 5 of the file (serial ") || !strings.Contains(out, "Skipped, since the configuration sets them: 3\n\texample.test. SOA\n") {
		t.Fatalf("%s %v", out, err)
	}
	again, err := other.run(t, exportCommand(), "", "example.test")
	if err != nil {
		t.Fatal(err)
	}
	without := func(text, what string) string { // serials and what was left out differ
		var kept []string
		for line := range strings.Lines(text) {
			if !strings.Contains(line, what) && !strings.Contains(line, "left out") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	if diff := cmp.Diff(without(file, "\tSOA\t"), without(again, "\tSOA\t")); diff != "" {
		t.Errorf("after the move (-there +here):\n%s\n%s", diff, before)
	}
}

func TestImport(t *testing.T) {
	s := startWithAdmin(t)
	s.must(t, "ops", "example.test", `{"append":[{"name":"old","type":"TXT","data":"old"}]}`)
	s.must(t, "web1", "example.test", `{"append":[{"name":"_acme-challenge.web1","type":"TXT","data":"`+challengeValue+`"}]}`)
	before := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body
	for name, test := range map[string]struct{ zone, file, want string }{
		"include":           {"example.test", "$INCLUDE /etc/passwd\n", "INCLUDE"},
		"broken line":       {"example.test", "new A 192.0.2.1\nnew A nonsense\n", "line: 2"},
		"outside":           {"example.test", "www.example.net. A 192.0.2.1\n", "not in zone"},
		"CNAME and more":    {"example.test", "new CNAME a.\nnew A 192.0.2.1\n", "alone"},
		"CNAME at the apex": {"example.test", "@ CNAME www.example.net.\n", "HTTPS record in AliasMode"},
		"raw UTF-8":         {"example.test", "bücher A 192.0.2.1\n", "xn--"},
		"unknown zone":      {"absent.test", "new A 192.0.2.1\n", "not in the configuration"},
	} {
		out, err := s.run(t, importCommand(), test.file, test.zone, "-")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %s %v", name, out, err)
		} else if !strings.HasPrefix(err.Error(), "the running Caddy says: ") || strings.Contains(err.Error(), "{") {
			t.Errorf("%s: not what was answered alone: %v", name, err)
		}
	}
	if after := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body; after != before {
		t.Errorf("the zone has changed: %s", after)
	}

	file := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(file, []byte("new 300 A 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run(t, importCommand(), "", "example.test", file, "--replace"); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	byAdmin := func(message string) (lines []string) {
		for _, line := range s.logged(t, message, "logger", "client", "remote_ip", "zone", "op", "records") {
			if line[1] == adminName {
				lines = append(lines, strings.Join(line, " "))
			}
		}
		return lines
	}
	const who = "bestdns.audit (admin endpoint) 127.0.0.1 example.test. "
	if diff := cmp.Diff([]string{who + "replace [1 of a master file]"}, byAdmin("changed")); diff != "" {
		t.Errorf("in the audit log (-want +got):\n%s", diff)
	}
	if refused := byAdmin("refused"); len(refused) != 6 || !strings.HasPrefix(refused[0], who+"import ") {
		t.Errorf("refused imports in the audit log: %q", refused)
	}
	for name, want := range map[string]int{"old": 0, "new": 1, "_acme-challenge.web1": 1, "ns1": 1} {
		if got := s.call(t, "ops", "GET", "/v1/zones/example.test/records?name="+name, "").records; len(got) != want {
			t.Errorf("%d records at %s, want %d", len(got), name, want)
		}
	}
}

// TestBackup restores a backup and finds what was there, with a serial that has
// not gone back.
func TestBackup(t *testing.T) {
	s := startWithAdmin(t)
	s.must(t, "ops", "example.test", `{"append":[{"name":"kept","type":"TXT","data":"x"}]}`)
	file := filepath.Join(t.TempDir(), "backup.db")
	if out, err := s.run(t, backupCommand(), "", file); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	s.must(t, "ops", "example.test", `{"append":[{"name":"lost","type":"TXT","data":"x"}]}`)
	serial := s.serial(t)
	waitFor(t, "what was made beside the store is gone", func() bool { // after the answer
		left, err := filepath.Glob(filepath.Join(filepath.Dir(s.store), ".backup-*"))
		return err == nil && len(left) == 0
	})
	caddy.Stop()
	if err := os.Rename(file, s.store); err != nil {
		t.Fatal(err)
	}
	s.load(t, s.standard())
	if len(s.texts(t, "kept.example.test.")) != 1 || len(s.texts(t, "lost.example.test.")) != 0 {
		t.Error("what is restored is not what was backed up")
	}
	if now := s.serial(t); int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d, restored", now, serial)
	}
	s.must(t, "ops", "example.test", `{"append":[{"name":"next","type":"TXT","data":"x"}]}`)
	if now := s.serial(t); int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d", now, serial)
	}
}

func TestNoCaddyIsRunning(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	if _, err := s.run(t, exportCommand(), "", "example.test"); err == nil || !strings.Contains(err.Error(), "must be running") {
		t.Errorf("export: %v", err)
	}
}

// TestImportWithoutStore: that nothing can be changed now is no fault of the file.
func TestImportWithoutStore(t *testing.T) {
	s := startWithAdmin(t)
	app, err := runningApp()
	if err != nil {
		t.Fatal(err)
	}
	if err := app.shared.Close(); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?replace=true"} {
		resp, err := http.Post("http://"+s.admin+adminZones+"example.test"+query, masterFileType, strings.NewReader("new A 192.0.2.1\n"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the name server is closed, so nothing was changed") {
			t.Errorf("%q: %d %s %v", query, resp.StatusCode, body, err)
		}
	}
	_, err = s.run(t, importCommand(), "new A 192.0.2.1\n", "example.test", "-")
	if err == nil || !strings.Contains(err.Error(), "takes no changes now") || !strings.Contains(err.Error(), "is closed") {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"full disk":     {fmt.Errorf("append: %w: %w", nameserver.ErrReadOnly, syscall.ENOSPC), 503, "no space left on device"},
		"lost store":    {fmt.Errorf("append: %w: %w", nameserver.ErrOutcomeUnknown, syscall.EIO), 503, "look what is there before you repeat it: append: whether the change is stored could not be found out: input/output error"},
		"anything else": {errors.New("secret-cause"), 500, "the service failed"},
		"broken rule":   {&record.RuleError{Rule: record.RuleCNAME, Conflict: true}, 409, "rule"},
	} {
		var told caddy.APIError
		if err := adminProblem(hosting.AsError(test.err, "\x04test\x00")); !errors.As(err, &told) || told.HTTPStatus != test.status || !strings.Contains(told.Err.Error(), test.want) || strings.Contains(told.Err.Error(), "secret-cause") {
			t.Errorf("%s: %d %v, want %d and %q", name, told.HTTPStatus, told.Err, test.status, test.want)
		}
	}
}

// TestImportTells: a dry run says what would be and changes nothing; what is skipped is named; each
// error has its line.
func TestImportTells(t *testing.T) {
	s := startWithAdmin(t)
	s.must(t, "ops", "example.test", `{"append":[{"name":"old","type":"TXT","data":"old"}]}`)
	before := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body
	const signed = `@ SOA ns1 hostmaster 1 2 3 4 5
@ NS ns1
ns1 A 127.0.0.1
new A 192.0.2.1
new RRSIG A 13 3 60 20270101000000 20260101000000 1 example.test. AAAA
@ DNSKEY 257 3 13 AAAA
@ NSEC new.example.test. A RRSIG NSEC
child NS ns.example.net.
child DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
`
	out, err := s.run(t, importCommand(), signed, "example.test", "-", "--without-dnssec", "--replace", "--dry-run")
	const want = `Nothing was changed. The zone has 4 records, and would have 6 with the 3 of the file.
Skipped, since a signed zone made them: 3
Skipped, since the configuration sets them: 3
	example.test. SOA
	example.test. NS
	ns1.example.test. A
`
	if err != nil || out != want {
		t.Errorf("dry run: %v\n%s\nwant\n%s", err, out, want)
	}
	if after := s.call(t, "ops", "GET", "/v1/zones/example.test/records", "").body; after != before {
		t.Errorf("the dry run has changed the zone: %s", after)
	}
	if out, err := s.run(t, importCommand(), signed, "example.test", "-", "--without-dnssec", "--replace"); err != nil || !strings.HasPrefix(out, "The zone had 4 records, and has 6 with the 3 of the file (serial ") {
		t.Errorf("import: %v\n%s", err, out)
	}
	for file, want := range map[string]string{
		signed: "line 5: type RRSIG",
		"a A 192.0.2.1\n\n; a comment\nb TXT ( \"one\"\n \"two\" )\nwww.example.net. A 192.0.2.1\n": "line 6: the name",
		"a A 192.0.2.1\nb A nonsense\n":     "line: 2",
		"a A 192.0.2.1\nbücher A 192.0.2.1": "line 2",
	} {
		if out, err := s.run(t, importCommand(), file, "example.test", "-", "--dry-run"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %v\nwant %q, of\n%s", out, err, want, file)
		}
	}
}

// TestCommandsTakeIDNs: a zone can be named as people write it.
func TestCommandsTakeIDNs(t *testing.T) {
	s := newService(t)
	s.admin = freeAddress(t)
	s.load(t, s.standard()+"\nzone bücher.test {\nns ns1.bücher.test 127.0.0.1\n}")
	if out, err := s.run(t, importCommand(), "www A 192.0.2.1\n", "Bücher.test", "-"); err != nil {
		t.Errorf("import: %v\n%s", err, out)
	}
	if out, err := s.run(t, exportCommand(), "", "bücher.test."); err != nil || !strings.Contains(out, "www.xn--bcher-kva.test.\t") {
		t.Errorf("export: %v\n%s", err, out)
	}
}
