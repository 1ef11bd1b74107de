package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// varied are records of what a zone may hold, with what a master file has to escape.
var varied = []api.Record{
	of("www", "A", "192.0.2.1"),
	of("www", "A", "192.0.2.2"),
	of("www", "AAAA", "2001:db8::1"),
	of("alias", "CNAME", "www.hosted.example."),
	of("*.wild", "CNAME", "elsewhere.example."),
	of("@", "MX", "10 mail.hosted.example."),
	of("mail", "A", "192.0.2.3"),
	of("@", "CAA", `0 issue "ca.example; validationmethods=dns-01"`),
	of("_sip._tcp", "SRV", "1 2 5060 www.hosted.example."),
	of("svc", "HTTPS", `1 . alpn="h2,h3" ipv4hint="192.0.2.1"`),
	of("_443._tcp.www", "TLSA", "3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	of("host", "SSHFP", "4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	of("delegated", "NS", "ns.delegated.hosted.example."),
	of("ns.delegated", "A", "192.0.2.4"),
	of("delegated", "DS", "12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	of("unknown", "TYPE65280", `\# 3 010203`),
	of("opaque", "TYPE16", `\# 4 03FF0001`),
	of(`dot\.ted`, "TXT", "a dot in a label"),
	of(`se\;mi\"colon\ \(x\)\@\$`, "TXT", "what has a meaning in a master file"),
	of(`octet\000\255`, "TXT", "octets"),
	harness.Text("text", `quotes " and ; and \ and $ORIGIN and (`),
	harness.Text("text", "\tspace, \n a new line, and ünïcödé "),
	harness.Text("empty", ""),
	harness.Text("long", strings.Repeat("0123456789", 100)),
}

func of(name, typ, data string) api.Record {
	return api.Record{Name: name, Type: typ, TTL: new(int64(300)), Data: &data}
}

// writeLoad has clients write as fast as they can, each one text at two names in one
// change and away again, until it is stopped.
func writeLoad(t *testing.T, s *harness.Service) (stop func()) {
	const clients = 8
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var changes [clients]int
	for client := range clients {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				data := fmt.Sprint(i)
				both := []api.Record{harness.Text(fmt.Sprintf("one.load%d", client), data), harness.Text(fmt.Sprintf("two.load%d", client), data)}
				for _, change := range []api.Change{{Append: both}, {Delete: both}} {
					if err := s.Patch(context.Background(), change); err != nil {
						t.Errorf("a change under load: %v", err)
						return
					}
					changes[client]++
				}
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
		for client, n := range changes {
			if n == 0 {
				t.Errorf("client %d changed nothing: there was no load", client)
			}
		}
	}
}

// zoneCheckers returns a function by which the programs of others check a master file.
func zoneCheckers(t *testing.T) func(file []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone")
	checks := [][]string{
		{harness.Debian(t, "named-checkzone", "bind9-utils"), "-i", "local", "-k", "ignore", harness.HostedZone, path},
		{harness.Debian(t, "kzonecheck", "knot-dnssecutils"), "-o", harness.HostedZone, path},
	}
	return func(file []byte) {
		t.Helper()
		harness.NoError(t, os.WriteFile(path, file, 0o600))
		for _, check := range checks {
			if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", check[0], err, out)
			}
		}
	}
}

// half returns which clients of a write load have only one of their two texts in a
// master file, as none may at any moment.
func half(file []byte) (clients []string) {
	texts := make(map[string]string)
	for line := range strings.Lines(string(file)) {
		if name, _, found := strings.Cut(line, "\t"); found && strings.Contains(name, ".load") {
			texts[name] = line[strings.LastIndexByte(line, '\t'):]
		}
	}
	for name, data := range texts {
		part, client, _ := strings.Cut(name, ".")
		other := map[string]string{"one": "two", "two": "one"}[part] + "." + client
		if texts[other] != data {
			clients = append(clients, client)
		}
	}
	return clients
}

// withoutSOA leaves out the one record in which two copies of a zone may differ.
func withoutSOA(file []byte) string {
	var kept strings.Builder
	for line := range strings.Lines(string(file)) {
		if !strings.Contains(line, "\tSOA\t") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// What is exported while clients write is a zone to others too, of one moment, and
// comes out of another service as it went in.
func TestMasterFiles(t *testing.T) {
	t.Parallel()
	check := zoneCheckers(t)
	s := harness.NewService(t)
	s.MustStart()
	s.MustPatch(t, harness.Appending(varied...))
	stop := writeLoad(t, s)
	var file []byte
	for range 5 {
		file = s.MustCommand(t, "export", harness.HostedZone)
		check(file)
		if clients := half(file); clients != nil {
			t.Errorf("half a change is in the file, of %q:\n%s", clients, file)
		}
	}
	if records := bytes.Count(file, []byte("\tIN\t")); records < len(varied) {
		t.Errorf("%d records were exported:\n%s", records, file)
	}

	other := harness.NewService(t)
	other.MustStart()
	path := filepath.Join(t.TempDir(), "zone")
	harness.NoError(t, os.WriteFile(path, file, 0o600))
	other.MustCommand(t, "import", harness.HostedZone, path)
	again := other.MustCommand(t, "export", harness.HostedZone)
	if diff := cmp.Diff(withoutSOA(file), withoutSOA(again)); diff != "" {
		t.Errorf("exported, imported and exported (-first +second):\n%s", diff)
	}

	// Into the zone that is written to: what else is there stays, or goes.
	other.MustPatch(t, harness.Appending(harness.Text("more", "x")))
	stopOther := writeLoad(t, other)
	other.MustCommand(t, "import", harness.HostedZone, path)
	other.Has(t, "more", "x")
	other.MustCommand(t, "import", harness.HostedZone, path, "--replace")
	stopOther()
	stop()
	if texts := other.Texts(); texts["more"] != nil || len(texts["long"]) != 1 {
		t.Errorf("after the zone was replaced, it has %q and %q", texts["more"], texts["long"])
	}
}

// A backup that is made while clients write holds one moment, with all that had been
// answered by then; another process serves the same from it.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := harness.NewService(t)
	s.MustStart()
	s.MustPatch(t, harness.Appending(varied...))
	restored := func(name string) *harness.Service {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		s.MustCommand(t, "backup", path)
		copied := harness.NewService(t)
		copied.Store = path
		copied.MustStart()
		return copied
	}

	stop := writeLoad(t, s)
	s.MustPatch(t, harness.Appending(harness.Text("answered", "x")))
	copied := restored("loaded.db")
	copied.Has(t, "answered", "x")
	if file := copied.MustCommand(t, "export", harness.HostedZone); half(file) != nil {
		t.Errorf("half a change is in the backup:\n%s", file)
	}
	stop()

	copied = restored("quiet.db")
	if diff := cmp.Diff(withoutSOA(s.MustCommand(t, "export", harness.HostedZone)), withoutSOA(copied.MustCommand(t, "export", harness.HostedZone))); diff != "" {
		t.Errorf("what another process serves from the backup (-original +copy):\n%s", diff)
	}
	names := []string{"text", "empty", "long", "answered", "missing"}
	if diff := cmp.Diff(s.TextsByDNS(names), copied.TextsByDNS(names)); diff != "" {
		t.Errorf("by DNS (-original +copy):\n%s", diff)
	}
}
