package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// TestCommands runs the scripts of testdata/script: what is typed, and what comes back.
// Each has a service of its own with the zone hosted.example, whose admin endpoint is at
// $ADMIN.
func TestCommands(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	harness.NoError(t, err)
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			t.Parallel()
			s := harness.NewService(t)
			s.MustStart()
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Setup: func(env *testscript.Env) error {
					path := filepath.Dir(harness.CaddyBinary) + string(filepath.ListSeparator) + env.Getenv("PATH")
					env.Vars = append(env.Vars, "PATH="+path, "HOME="+env.WorkDir, "ADMIN="+s.Admin)
					return nil
				},
			})
		})
	}
}
