package harness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Knot is a running Knot DNS with one zone, which may be changed and transferred
// with its key.
type Knot struct {
	Addr         string
	KeyName, Key string
}

const knotConfig = `
server:
    listen: %[1]s
    rundir: %[2]q
database:
    storage: %[2]q
log:
  - target: stderr
    any: info
key:
  - id: %[3]s
    algorithm: hmac-sha256
    secret: %[4]s
acl:
  - id: %[3]s
    key: %[3]s
    action: [update, transfer]
zone:
  - domain: %[5]s
    storage: %[2]q
    file: zone
    acl: %[3]s
`

// KnotZone is a format for the address of its name server.
const KnotZone = `
@   60 SOA ns1 hostmaster 1 3600 600 1209600 0
@   60 NS  ns1
ns1 60 A   %s
`

// StartKnot runs Debian's Knot with the zone, at any free address.
func StartKnot(t testing.TB, zone string) *Knot {
	t.Helper()
	return StartKnotAt(t, FreeAddr(t), zone)
}

// StartKnotAt runs it at an address.
func StartKnotAt(t testing.TB, addr, zone string) *Knot {
	t.Helper()
	binary := Debian(t, "knotd", "knot")
	secret := make([]byte, 32)
	rand.Read(secret)
	k := &Knot{Addr: addr, KeyName: "bestdns", Key: base64.StdEncoding.EncodeToString(secret)}

	dir := t.TempDir()
	config := filepath.Join(dir, "knot.conf")
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("knot.conf", fmt.Sprintf(knotConfig, strings.Replace(k.Addr, ":", "@", 1), dir, k.KeyName, k.Key, zone))
	host, _ := splitAddr(addr)
	write("zone", fmt.Sprintf(KnotZone, host))
	RunKnot(t, binary, config, k.Addr, zone)
	return k
}

// RunKnot runs it with a config, and waits until it serves the zone at addr.
func RunKnot(t testing.TB, binary, config, addr, zone string) {
	t.Helper()
	cmd := exec.Command(binary, "-c", config)
	waitServes(t, addr, zone, runProgram(t, "Knot", cmd))
}

// Cannot ends a test that this system does not let run: it is skipped, or fails where
// BESTDNS_PEERS=required says that all that tests need was to be there.
func Cannot(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("BESTDNS_PEERS") == "required" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Debian returns the path of a program that comes in a Debian package. A test that
// needs it cannot go on without.
func Debian(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	// Debian has servers in a folder that is not in everyone's PATH.
	if path, err = exec.LookPath("/usr/sbin/" + program); err == nil {
		return path
	}
	Cannot(t, fmt.Sprintf("%s is not here: it comes with Debian's package %s", program, debianPackage))
	return ""
}
