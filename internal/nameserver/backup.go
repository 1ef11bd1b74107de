package nameserver

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
)

// backupSets is how many RRsets one transaction of a backup writes at most.
const backupSets = 10_000

// backupLead is how much later the serials in a backup are. The store that it was made
// of goes on, one serial a commit, which can be faster than the clock; when the backup
// is restored, its serials must be later (RFC 1982) than all that were ever served. So
// many commits take hours at the full speed of the disk, and as seconds two years.
const backupLead = 1 << 26

// Backup writes all zones, in a consistent snapshot, into a new store at path,
// where nothing may be yet. Changes go on meanwhile: what is written is a snapshot,
// and no transaction of the store itself is held for it. Only the serials are later, so
// that restoring it never takes one back. What Backup leaves behind when it fails is
// for the caller to remove.
func (s *Server) Backup(ctx context.Context, path string) error {
	if err := s.Load(); err != nil {
		return err
	}
	zones, clients, err := s.backupZones(ctx)
	if err != nil {
		return fmt.Errorf("backing up the store %q: %w", s.store.path, err)
	}
	if err := writeBackup(ctx, path, zones, clients); err != nil {
		return fmt.Errorf("writing a backup to %q: %w", path, err)
	}
	return syncFolder(filepath.Dir(path))
}

// zoneBackup is a zone to back up: its snapshot, and what the store has at the
// names where the snapshot has what the configuration makes.
type zoneBackup struct {
	snapshot *Snapshot
	stored   map[string]node
}

// backupZones has the committer, between two commits, say what the zones are, and
// which clients there are.
func (s *Server) backupZones(ctx context.Context) (zones []zoneBackup, clients []storedClient, err error) {
	err = s.submit(ctx, &job{alone: true, plan: func(*batch) error {
		zones, clients = nil, nil
		for name, number := range s.ledger.Load().numbers {
			clients = append(clients, storedClient{number, name})
		}
		for name, z := range *s.zones.Load() {
			b := zoneBackup{snapshot: z.current.Load(), stored: make(map[string]node)}
			if c := b.snapshot.config; c != nil {
				for _, set := range c.sets {
					n, err := s.store.node(name, set.key)
					if err != nil {
						return err
					}
					b.stored[set.key] = n
				}
			}
			zones = append(zones, b)
		}
		return nil
	}})
	return zones, clients, err
}

func writeBackup(ctx context.Context, path string, zones []zoneBackup, clients []storedClient) error {
	backup := &store{path: path, lockTimeout: time.Second, newClients: clients}
	if err := backup.open(); err != nil {
		return err
	}
	defer backup.close()
	for _, z := range zones {
		if err := z.write(ctx, backup); err != nil {
			return err
		}
	}
	return backup.close()
}

// write writes a zone in transactions of limited size.
func (b zoneBackup) write(ctx context.Context, to *store) error {
	z := b.snapshot
	change := zoneChange{zone: z.zone, serial: z.serial + backupLead, config: z.configured}
	var err error
	flush := func() bool {
		if err = ctx.Err(); err == nil {
			err = to.write([]zoneChange{change})
		}
		change.sets = change.sets[:0]
		return err == nil
	}
	add := func(key string, n node) bool {
		for n != "" {
			var (
				t   record.Type
				set rrset
			)
			t, set, n = n.next()
			change.sets = append(change.sets, setChange{owner: key, typ: t, set: set})
		}
		return len(change.sets) < backupSets || flush()
	}
	z.tree.Scan(func(key string, n node) bool {
		if _, hidden := b.stored[key]; hidden {
			return true
		}
		return add(key, n)
	})
	if err != nil {
		return err
	}
	for key, n := range b.stored {
		if !add(key, n) {
			return err
		}
	}
	flush()
	return err
}
