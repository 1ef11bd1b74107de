package nameserver

import (
	"bytes"
	"encoding/binary"
	"math"

	"go.etcd.io/bbolt"
)

// upgrade makes a store of version 1 one of this version: no record is a client's yet.
// One that expires after 2106 does so then.
func (s *store) upgrade() error {
	s.upgraded = true
	return s.db.Update(func(tx *bbolt.Tx) error {
		err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if string(name) == string(metaBucket) || b == nil || b.Bucket(setsBucket) == nil {
				return nil
			}
			return upgradeSets(b.Bucket(setsBucket))
		})
		if err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(formatKey, binary.BigEndian.AppendUint32(nil, formatVersion))
	})
}

func upgradeSets(sets *bbolt.Bucket) error {
	changed := make(map[string][]byte)
	err := sets.ForEach(func(k, v []byte) error {
		if checkSet(v) != nil {
			return nil // what reads it says more
		}
		var better []byte
		for at := 0; at < len(v); at += recordHeader + int(binary.BigEndian.Uint16(v[at+12:])) {
			if binary.BigEndian.Uint32(v[at+4:]) == 0 {
				continue
			}
			if better == nil {
				better = bytes.Clone(v)
			}
			binary.BigEndian.PutUint32(better[at+4:], 0)
			binary.BigEndian.PutUint32(better[at+8:], math.MaxUint32)
		}
		if better != nil {
			changed[string(k)] = better
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, v := range changed {
		if err := sets.Put([]byte(k), v); err != nil {
			return err
		}
	}
	return nil
}
