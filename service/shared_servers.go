package service

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-dns/bestdns/internal/access"
	"github.com/caddy-dns/bestdns/internal/nameserver"
)

// servers are the name servers, which outlive configurations, one for each store: by
// its path, *sharedServer.
var servers = caddy.NewUsagePool()

// sharedServer is a name server in the pool.
type sharedServer struct{ *nameserver.Server }

// Destruct closes the store when the last configuration has gone.
func (s *sharedServer) Destruct() error { return s.Close() }

// canonicalStorePath returns one path for one file, however it is written.
func canonicalStorePath(path string) (string, error) {
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "bestdns", "records.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("store %q: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	// The file is yet to be made: its folder decides, where there is one.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	return path, nil
}

// acquireServer opens the store, or joins those who have it open.
func acquireServer(path string) (*sharedServer, error) {
	value, _, err := servers.LoadOrNew(path, func() (caddy.Destructor, error) {
		server, err := nameserver.Open(nameserver.Options{
			Path:      path,
			Logger:    processLog(),
			Transient: access.LocalName,
		})
		if err != nil {
			return nil, err
		}
		return &sharedServer{server}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedServer), nil
}
