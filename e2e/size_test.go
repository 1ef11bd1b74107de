package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A program that uses only a lego adapter carries no service, no HTTP server
// and not all of Caddy. It is built as a user of lego would build it: with the
// versions that the adapter's module asks for.
func TestLegoProgramsAreSmall(t *testing.T) {
	t.Parallel()
	const limit = 12_000_000 // bytes
	for program, module := range map[string]string{"lego": "..", "lego5": "../lego5"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), program)
			source, err := filepath.Abs(program + "/main.go")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, source)
			cmd.Dir = module
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
		})
	}
}
