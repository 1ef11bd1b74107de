package nameserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-dns/bestdns/internal/record"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The layout of the store, a bbolt file:
//
//	meta/format              uint32, the version of this layout
//	meta/clients/<number>    name of a client, whose records have the number
//	meta/probe               at most for a moment, to see whether there is room
//	<zone>/serial            uint32, of the zone's SOA
//	<zone>/config            fingerprint of the configuration it was last served by
//	<zone>/rrsets/<owner>00<type>   rrset
//
// <zone> is the apex in wire form, whose last byte is 00, so that it is never
// "meta"; <owner> the name's record.Name.Key; <type> a uint16. No label in a key
// begins with byte 00, so all RRsets of a name are together, before those of
// the names below it. Integers are in network byte order. The records that the
// server makes itself are not in the store.
//
// Version 1 had 64 bits for when a record expires, of which the upper half, 0 until the
// year 2106, is the client's number since.
const formatVersion = 2

var (
	metaBucket    = []byte("meta")
	clientsBucket = []byte("clients") // in meta
	formatKey     = []byte("format")
	serialKey     = []byte("serial")
	configKey     = []byte("config")
	setsBucket    = []byte("rrsets")
)

// errDamaged is a store that cannot be what this package wrote.
var errDamaged = errors.New("the file is damaged, or not a store of BestDNS")

// store is the file. The committer owns it, and Open and Load before there is a committer.
// No transaction outlives the work on memory that it is for, since one that reads keeps
// bbolt from growing the file.
type store struct {
	path        string
	lockTimeout time.Duration
	db          *bbolt.DB // nil while it cannot be opened again

	// stuck is set when a write ended in a panic, which leaves bbolt's locks in an
	// unknown state. Such a store is left alone until the process ends.
	stuck bool
	// upgraded is set when opening has brought the file to this version.
	upgraded bool
	// newClients are not on disk yet.
	newClients []storedClient
	// failing, where a test has set it, fails what is about to be done.
	failing func(step) error
}

// step is a moment at which a test can make the store fail.
type step string

const (
	stepOpen      step = "open"
	stepCommit    step = "commit"    // nothing is written yet
	stepCommitted step = "committed" // all is written
)

func (s *store) try(at step) error {
	if s.failing == nil {
		return nil
	}
	return s.failing(at)
}

// open opens the file, makes it and its folders where they are missing, and checks
// its format. Its errors name the file and say what to do.
func (s *store) open() error {
	folder := filepath.Dir(s.path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("making the folder of the store %q: %w", s.path, err)
	}
	_, statErr := os.Stat(s.path)
	err := guard(func() error {
		if err := s.try(stepOpen); err != nil {
			return err
		}
		var err error
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout: s.lockTimeout,
			// The list of free pages is written with each commit. Without, a commit is not
			// measurably faster (0.2 ms either way at a hundred records and at a million,
			// with one exception: 0.5 instead of 0.25 ms after 900,000 of them were
			// deleted), but opening a million records takes 90 ms more, and bbolt reads the
			// whole file in a goroutine of its own, where a damaged page ends the process
			// instead of giving an error.
			NoFreelistSync: false,
			// The other kind of list is searched from its beginning for each page.
			FreelistType: bbolt.FreelistMapType,
			// They are not read, and cost a lock for each transaction.
			NoStatistics: true,
		})
		if err != nil {
			return err
		}
		if err := s.checkFormat(); err != nil {
			s.db.Close()
			s.db = nil
			return err
		}
		return nil
	})
	if err != nil {
		return s.explain(err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		// The file's name has to be on disk too, not only what is in it.
		if err := syncFolder(folder); err != nil {
			s.close()
			return fmt.Errorf("syncing the folder of the store %q: %w", s.path, err)
		}
	}
	return nil
}

// checkFormat makes a new file a store and refuses one of another kind or version.
func (s *store) checkFormat() error {
	var found []byte
	isNew := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(metaBucket); meta != nil {
			found = append(found, meta.Get(formatKey)...)
			return nil
		}
		first, _ := tx.Cursor().First()
		isNew = first == nil
		return nil
	})
	if err != nil {
		return err
	}
	if isNew {
		return s.db.Update(func(tx *bbolt.Tx) error {
			meta, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			return meta.Put(formatKey, binary.BigEndian.AppendUint32(nil, formatVersion))
		})
	}
	if len(found) != 4 {
		return errDamaged
	}
	switch version := binary.BigEndian.Uint32(found); {
	case version > formatVersion:
		return fmt.Errorf("its format has version %d, and this program knows versions up to %d: it was written by a newer BestDNS; "+
			"run that one, or restore a backup that this one wrote", version, formatVersion)
	case version == 1:
		return s.upgrade()
	case version != formatVersion: // 0
		return errDamaged
	}
	return nil
}

// explain makes of what kept the file from being opened an error that says what to do.
func (s *store) explain(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("opening the store %q: another process has held its lock for %v: most likely another Caddy with the same store, "+
			"perhaps an old one that has not ended yet; end it, or give this one a store of its own: %w", s.path, s.lockTimeout, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("opening the store %q: it has to be readable and writable for the user that runs this process: %w", s.path, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, errDamaged), strings.Contains(err.Error(), "file size too small"): // for which bbolt has no error of its own
		if !errors.Is(err, errDamaged) {
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
		return fmt.Errorf("opening the store %q: %w; restore a backup, or move the file away to begin with an empty store", s.path, err)
	}
	return fmt.Errorf("opening the store %q: %w", s.path, err)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrPermission) {
		return err // the two are how file systems say that they cannot
	}
	return nil
}

// close closes the file and gives up its lock.
func (s *store) close() error {
	if s.db == nil || s.stuck {
		return nil
	}
	err := s.db.Close()
	s.db = nil
	return err
}

// reopen closes the file and opens it again: what bbolt has in memory after a
// failed commit need not be what is on disk.
func (s *store) reopen() error {
	if s.stuck {
		return errors.New("the file was damaged while it was written to; the process has to be started again")
	}
	// What closing could fail at has been synced by each commit.
	_ = s.close()
	return s.open()
}

// load reads all zones into new snapshots, without what configurations make.
func (s *store) load() (map[record.Name]*Snapshot, error) {
	zones := make(map[record.Name]*Snapshot)
	err := s.eachZone(func(name []byte, b *bbolt.Bucket) error {
		z, err := loadZone(name, b)
		if err == nil {
			zones[z.zone] = z
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w; restore a backup, or move the file away to begin with an empty store", err)
	}
	return zones, nil
}

// serials reads the serials of all zones.
func (s *store) serials() (map[record.Name]uint32, error) {
	serials := make(map[record.Name]uint32)
	err := s.eachZone(func(name []byte, b *bbolt.Bucket) error {
		serial := b.Get(serialKey)
		if len(serial) != 4 {
			return errDamaged
		}
		serials[record.Name(name)] = binary.BigEndian.Uint32(serial)
		return nil
	})
	return serials, err
}

// eachZone calls read with the name of each zone in wire form and its bucket, nil where
// something else has its name.
func (s *store) eachZone(read func(name []byte, b *bbolt.Bucket) error) error {
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				if string(name) == string(metaBucket) {
					return nil
				}
				return read(name, b)
			})
		})
	})
	if err != nil {
		return fmt.Errorf("reading the store %q: %w", s.path, err)
	}
	return nil
}

func loadZone(wire []byte, b *bbolt.Bucket) (*Snapshot, error) {
	name, err := record.NameFromWire(wire)
	if err != nil || string(name) != string(wire) || b == nil {
		return nil, fmt.Errorf("%w: %q is not a zone", errDamaged, wire)
	}
	z := newSnapshot(name)
	serial, config, sets := b.Get(serialKey), b.Get(configKey), b.Bucket(setsBucket)
	if len(serial) != 4 || len(config) != len(z.configured) || sets == nil {
		return nil, fmt.Errorf("%w: zone %q lacks a part", errDamaged, name)
	}
	z.serial = binary.BigEndian.Uint32(serial)
	copy(z.configured[:], config)

	var (
		key string
		n   []byte
	)
	flush := func() {
		if len(n) > 0 {
			z.load(key, node(n))
			n = n[:0]
		}
	}
	err = sets.ForEach(func(k, v []byte) error {
		owner, t, err := splitSetKey(k, z.key)
		if err == nil {
			err = checkSet(v)
		}
		if err != nil {
			return fmt.Errorf("%w: zone %q: the RRset under the key %q: %w", errDamaged, name, k, err)
		}
		if string(owner) != key {
			flush()
			key = string(owner)
		}
		n = appendSet(n, t, rrset(v))
		return nil
	})
	flush()
	return z, err
}

// setKeyTail is the length of what follows the owner in the key of an RRset.
const setKeyTail = 1 + 2

// setKey returns the key under which an RRset is stored.
func setKey(owner string, t record.Type) []byte {
	key := make([]byte, 0, len(owner)+setKeyTail)
	key = append(append(key, owner...), 0)
	return binary.BigEndian.AppendUint16(key, uint16(t))
}

// errKey is what splitSetKey says of bytes that setKey never returns.
var errKey = errors.New("not the key of an RRset in the zone")

// splitSetKey is the inverse of setKey for an owner in the zone with the key zone.
// It checks what [record.NameFromKey] relies on.
func splitSetKey(key []byte, zone string) (owner []byte, t record.Type, err error) {
	if len(key) < len(zone)+setKeyTail || string(key[:len(zone)]) != zone || key[len(key)-setKeyTail] != 0 {
		return nil, 0, errKey
	}
	owner, typ := key[:len(key)-setKeyTail], key[len(key)-2:]
	octets, label := 1, 0 // of the name in wire form, and of the label so far
	for i := 0; i < len(owner); i++ {
		c := owner[i]
		if c == 0 {
			if label == 0 || label > 63 {
				return nil, 0, errKey
			}
			octets += 1 + label
			label = 0
			continue
		}
		if c == 1 {
			i++
			if i == len(owner) || owner[i] != 1 && owner[i] != 2 {
				return nil, 0, errKey
			}
		}
		if 'A' <= c && c <= 'Z' {
			return nil, 0, errKey
		}
		label++
	}
	if label != 0 || octets > 255 {
		return nil, 0, errKey
	}
	return owner, record.Type(binary.BigEndian.Uint16(typ)), nil
}

// node reads what is stored at one name.
func (s *store) node(zone record.Name, owner string) (node, error) {
	if s.db == nil {
		return "", fmt.Errorf("%w: the store %q could not be opened again", ErrReadOnly, s.path)
	}
	var n []byte
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(zone))
			if b == nil {
				return nil
			}
			c := b.Bucket(setsBucket).Cursor()
			prefix := append([]byte(owner), 0)
			for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
				n = appendSet(n, record.Type(binary.BigEndian.Uint16(k[len(prefix):])), rrset(v))
			}
			return nil
		})
	})
	if err != nil {
		return "", fmt.Errorf("reading the store %q: %w", s.path, err)
	}
	return node(n), nil
}

// zoneChange is what a commit writes of one zone.
type zoneChange struct {
	zone   record.Name
	serial uint32
	config fingerprint
	sets   []setChange
}

// setChange is the new contents of an RRset, "" to delete it.
type setChange struct {
	owner string
	typ   record.Type
	set   rrset
}

// write writes the changes of one commit, all or none. When it returns nil they
// are on disk; when it does not, they may be nevertheless.
func (s *store) write(changes []zoneChange) error {
	return s.update(func(tx *bbolt.Tx) error {
		for i := range changes {
			if err := changes[i].write(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// update is a transaction of bbolt that writes. Its error tells as much as that of
// write.
func (s *store) update(do func(*bbolt.Tx) error) error {
	err := guard(func() error {
		s.stuck = true // and stays so after a panic
		err := s.tryUpdate(do)
		s.stuck = false
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the store %q: %w", s.path, err)
	}
	return nil
}

func (s *store) tryUpdate(do func(*bbolt.Tx) error) error {
	if err := s.try(stepCommit); err != nil {
		return err
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		return s.writeClients(tx)
	})
	if err != nil {
		return err
	}
	if err := s.try(stepCommitted); err != nil {
		return err
	}
	s.newClients = nil
	return nil
}

func (c *zoneChange) write(tx *bbolt.Tx) error {
	zone, err := tx.CreateBucketIfNotExists([]byte(c.zone))
	if err != nil {
		return err
	}
	if err := zone.Put(serialKey, binary.BigEndian.AppendUint32(nil, c.serial)); err != nil {
		return err
	}
	if err := zone.Put(configKey, c.config[:]); err != nil {
		return err
	}
	sets, err := zone.CreateBucketIfNotExists(setsBucket)
	if err != nil {
		return err
	}
	for i := range c.sets {
		key := setKey(c.sets[i].owner, c.sets[i].typ)
		if c.sets[i].set == "" {
			err = sets.Delete(key)
		} else {
			err = sets.Put(key, []byte(c.sets[i].set))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// guard turns a panic into an error. bbolt panics where a page is not what it must
// be, and the memory it maps faults where the file has become too short; a damaged
// file must not end the process, in which more than a name server runs.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recovered := recover(); recovered != nil {
			err = fmt.Errorf("%w: %v", errDamaged, recovered)
		}
	}()
	return f()
}
