package api

import (
	"cmp"
	"runtime/debug"
	"sync"
)

// version is set by the linker in a release, whose programs are built within this repository.
var version string

// Version returns the version of BestDNS that this program is built with, such as "v0.1.0". It is
// "devel" and the commit, as far as that is known, in a build of something between two releases.
var Version = sync.OnceValue(func() string {
	build, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return cmp.Or(version, devel)
	}
	return versionIn(build)
})

const (
	module = "github.com/caddy-dns/bestdns"
	devel  = "devel"
)

func versionIn(build *debug.BuildInfo) string {
	for _, dependency := range build.Deps {
		if dependency.Path == module && dependency.Replace == nil && dependency.Version != "" && dependency.Version != "(devel)" {
			return dependency.Version
		}
	}
	settings := make(map[string]string)
	for _, s := range build.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if revision == "" {
		return devel
	}
	text := devel + "-" + revision[:min(len(revision), 12)]
	if settings["vcs.modified"] == "true" {
		text += "-modified"
	}
	return text
}
