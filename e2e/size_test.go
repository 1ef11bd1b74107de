package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A program that uses only the lego adapter carries no service, no HTTP server
// and not all of Caddy. It is built as a user of lego would build it: with the
// versions that the root module asks for.
func TestLegoProgramIsSmall(t *testing.T) {
	t.Parallel()
	const limit = 12_000_000 // bytes
	binary := filepath.Join(t.TempDir(), "lego")
	source, err := filepath.Abs("lego/main.go")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, source)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() > limit {
		t.Errorf("the program has %d bytes, more than %d", info.Size(), limit)
	}
}
