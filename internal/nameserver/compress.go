package nameserver

import (
	"hash/maphash"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// suffixes are the names that stand in a message, so that later ones can end in a
// pointer to one of them (RFC 1035 §4.1.4). Most messages have a few, which are compared
// one by one; where there are more, and an answer over TCP can have 8,000, they are found
// by their hash.
type suffixes struct {
	list []suffix
	// slots is a hash table with open addressing: numbers in list, and 1. Its length is
	// a power of two, and 0 for as long as the list is short.
	slots []uint16
}

// suffix is where a name of that length stands in the message.
type suffix struct {
	at, length uint16
	hash       uint32 // if there is a table
}

// pointerLimit is the first offset that no pointer can have.
const pointerLimit = 1 << 14

const (
	shortList  = 32
	firstSlots = 256
)

// suffixSeed makes the hashes what no one else can foresee.
var suffixSeed = maphash.MakeSeed()

func hashSuffix(name string) uint32 { return uint32(maphash.String(suffixSeed, name)) }

func (s *suffixes) reset() {
	s.list = s.list[:0]
	clear(s.slots)
	s.slots = s.slots[:0]
}

// expect has room made for the suffixes of a name. It must be called before the name
// becomes a part of the message.
func (s *suffixes) expect(message []byte, name record.Name) {
	// No name has more labels than half its octets.
	if len(s.slots) > 0 || len(s.list)+len(name)/2 <= shortList || len(s.list)+name.Labels() <= shortList {
		return
	}
	for i := range s.list {
		s.list[i].hash = hashAt(message, int(s.list[i].at))
	}
	s.grow()
}

// find returns where a name already stands in the message, and its hash if there is a
// table.
func (s *suffixes) find(message []byte, name string) (at int, hash uint32, ok bool) {
	if len(s.slots) == 0 {
		for _, known := range s.list {
			if int(known.length) == len(name) && standsAt(message, int(known.at), name) {
				return int(known.at), 0, true
			}
		}
		return 0, 0, false
	}
	hash = hashSuffix(name)
	for slot := s.slotOf(hash); s.slots[slot] != 0; slot = s.after(slot) {
		known := s.list[s.slots[slot]-1]
		if known.hash == hash && int(known.length) == len(name) && standsAt(message, int(known.at), name) {
			return int(known.at), hash, true
		}
	}
	return 0, hash, false
}

// add adds a name whose hash is from find.
func (s *suffixes) add(at, length int, hash uint32) {
	s.list = append(s.list, suffix{uint16(at), uint16(length), hash})
	switch {
	case len(s.slots) == 0:
	case 2*len(s.list) > len(s.slots):
		s.grow()
	default:
		s.insert(len(s.list) - 1)
	}
}

// truncate forgets all but the first n suffixes.
func (s *suffixes) truncate(n int) {
	if len(s.slots) > 0 {
		// The last one first: none has been inserted past a slot that gets free.
		for i := len(s.list) - 1; i >= n; i-- {
			slot := s.slotOf(s.list[i].hash)
			for int(s.slots[slot]) != i+1 {
				slot = s.after(slot)
			}
			s.slots[slot] = 0
		}
	}
	s.list = s.list[:n]
}

// grow makes the table twice as large.
func (s *suffixes) grow() {
	size := max(firstSlots, 2*len(s.slots))
	if cap(s.slots) < size {
		s.slots = make([]uint16, size)
	} else {
		s.slots = s.slots[:size]
		clear(s.slots)
	}
	for i := range s.list {
		s.insert(i)
	}
}

func (s *suffixes) insert(i int) {
	slot := s.slotOf(s.list[i].hash)
	for s.slots[slot] != 0 {
		slot = s.after(slot)
	}
	s.slots[slot] = uint16(i + 1)
}

func (s *suffixes) slotOf(hash uint32) int { return int(hash) & (len(s.slots) - 1) }

func (s *suffixes) after(slot int) int { return (slot + 1) & (len(s.slots) - 1) }

// hashAt returns the hash of a name that stands in the message.
func hashAt(message []byte, at int) uint32 {
	var buf [maxName]byte
	name := buf[:0]
	for {
		c := message[at]
		if c >= 0xc0 {
			at = int(c&0x3f)<<8 | int(message[at+1])
			continue
		}
		name = append(name, message[at:at+1+int(c)]...)
		if c == 0 {
			return uint32(maphash.Bytes(suffixSeed, name))
		}
		at += 1 + int(c)
	}
}

// standsAt compares a name with one of the same length in the message.
func standsAt(message []byte, at int, name string) bool {
	for {
		c := message[at]
		if c >= 0xc0 {
			at = int(c&0x3f)<<8 | int(message[at+1])
			continue
		}
		if c == 0 {
			return name[0] == 0
		}
		end := int(c) + 1
		if !strings.HasPrefix(name, borrow(message[at:at+end])) {
			return false
		}
		at, name = at+end, name[end:]
	}
}
