package nameserver

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// This file is the names in the store of the clients whose numbers are with records
// (ledger.go).

// storedClient is a client that has records.
type storedClient struct {
	number uint32
	name   string
}

// clients reads the clients' names by number, those that are not on disk yet included.
func (s *store) clients() (map[uint32]string, error) {
	names := make(map[uint32]string)
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			clients := tx.Bucket(metaBucket).Bucket(clientsBucket)
			if clients == nil {
				return nil
			}
			return clients.ForEach(func(k, v []byte) error {
				// They are given one after the other. A damaged one that is far from the rest
				// must not decide how much memory the ledger takes.
				next := uint32(len(names)) + 1
				if !bytes.Equal(k, binary.BigEndian.AppendUint32(nil, next)) || v == nil {
					return fmt.Errorf("%w: no client can have the number %x, where %d is the next", errDamaged, k, next)
				}
				names[next] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the store %q: %w; restore a backup, or move the file away to begin with an empty store", s.path, err)
	}
	for _, c := range s.newClients {
		names[c.number] = c.name
	}
	return names, nil
}

func (s *store) writeClients(tx *bbolt.Tx) error {
	if len(s.newClients) == 0 {
		return nil
	}
	clients, err := tx.Bucket(metaBucket).CreateBucketIfNotExists(clientsBucket)
	if err != nil {
		return err
	}
	for _, c := range s.newClients {
		if err := clients.Put(binary.BigEndian.AppendUint32(nil, c.number), []byte(c.name)); err != nil {
			return err
		}
	}
	return nil
}
