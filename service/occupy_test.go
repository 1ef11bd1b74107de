package service

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/caddy-dns/bestdns/internal/record"
)

// lockStore holds a store's lock as another process would.
func lockStore(t *testing.T, path string) (release func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return func() { db.Close() }
}

// occupy takes an address without sharing it.
func occupy(t *testing.T, address string) (release func()) {
	t.Helper()
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	return func() { udp.Close() }
}

func mustName(t *testing.T, text string) record.Name {
	t.Helper()
	name, err := record.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
