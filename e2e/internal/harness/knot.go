package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Knot is a running Knot DNS with one zone, which may be changed and transferred
// with its key.
type Knot struct {
	Addr         string
	KeyName, Key string
}

// KnotZone is a format for the address of its name server.
const KnotZone = `
@   60 SOA ns1 hostmaster 1 3600 600 1209600 0
@   60 NS  ns1
ns1 60 A   %s
`

// StartKnot runs Debian's Knot with the zone, at any free address.
func StartKnot(t testing.TB, zone string) *Knot {
	t.Helper()
	z := Zone{Name: zone, Key: NewKey(), Primaries: []string{FreeAddr(t)}}
	StartKnotPrimary(t, z)
	return &Knot{Addr: z.Primaries[0], KeyName: z.Key.Name, Key: z.Key.Secret}
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
