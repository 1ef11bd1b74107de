package api

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	ours := func(version string, replace *debug.Module) []*debug.Module {
		return []*debug.Module{{Path: "example.org/else", Version: "v9.9.9"}, {Path: module, Version: version, Replace: replace}}
	}
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "false"}}
	for name, test := range map[string]struct {
		deps     []*debug.Module
		settings []debug.BuildSetting
		want     string
	}{
		"a release":                     {ours("v0.1.0", nil), commit, "v0.1.0"},
		"from a folder":                 {ours("v0.1.0", &debug.Module{Path: "../.."}), commit, "devel-0123456789ab"},
		"from a folder, without a name": {ours("(devel)", nil), commit, "devel-0123456789ab"},
		"with changes":                  {nil, []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}, "devel-0123456789ab-modified"},
		"of an archive":                 {nil, nil, "devel"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := versionIn(&debug.BuildInfo{Deps: test.deps, Settings: test.settings}); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
