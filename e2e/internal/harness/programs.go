package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
)

// The programs under test, which Main sets.
var (
	// CaddyBinary is a Caddy with client and service.
	CaddyBinary string
	// ClientBinary is a Caddy that needs to have the client only.
	ClientBinary string
	// LegoBinary and Lego5Binary are the programs of the folders lego and lego5.
	LegoBinary, Lego5Binary string
	// LegoDNS and LegoDNS5 return the programs of the folders legodns and legodns5. The first test
	// that needs one builds it.
	LegoDNS, LegoDNS5 = onDemand("./legodns"), onDemand("./legodns5")
)

// buildDir is the folder for the programs, which Main sets.
var buildDir string

// Variables that name binaries to use instead of those that the tests build: a Caddy
// with client and service, and one with the client.
const (
	envCaddy       = "BESTDNS_CADDY"
	envCaddyClient = "BESTDNS_CADDY_CLIENT"
)

// Main builds the programs once, runs all tests, and exits.
func Main(m *testing.M) {
	setPebbleEnv()
	certmagic.RateLimitEventsWindow = 0 // all tests obtain from what is one CA to it
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// runTests builds the programs once, for all tests.
func runTests(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "bestdns-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	if CaddyBinary = os.Getenv(envCaddy); CaddyBinary == "" {
		if CaddyBinary, err = build(dir, "./caddy"); err != nil {
			return 0, err
		}
	}
	if ClientBinary = os.Getenv(envCaddyClient); ClientBinary == "" {
		ClientBinary = CaddyBinary
	}
	if LegoBinary, err = build(dir, "./lego"); err != nil {
		return 0, err
	}
	if Lego5Binary, err = build(dir, "./lego5"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// build builds a program of this module into dir.
func build(dir, program string) (string, error) {
	binary := filepath.Join(dir, filepath.Base(program))
	// Without what debuggers need, as xcaddy and make build it.
	args := []string{"build", "-ldflags", "-s -w", "-o", binary}
	// Not with the race detector: Caddy 2.11.9 itself has a race, between the start of
	// its tls app and the first event of a certificate that anyone subscribes to, as
	// the service does. The unit tests run the service with it.
	out, err := exec.Command("go", append(args, program)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return binary, nil
}

// onDemand returns a function that returns the path of a program. Its first call builds the program.
func onDemand(program string) func(testing.TB) string {
	built := sync.OnceValues(func() (string, error) { return build(buildDir, program) })
	return func(t testing.TB) string {
		t.Helper()
		return Must(built())(t)
	}
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

// DebianFile returns the path of a file that comes in a Debian package.
func DebianFile(t testing.TB, path, debianPackage string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		Cannot(t, fmt.Sprintf("%s is not here: it comes with Debian's package %s", path, debianPackage))
	}
	return path
}
