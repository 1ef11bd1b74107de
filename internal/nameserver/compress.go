package nameserver

import (
	"hash/maphash"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// suffixes are the names that are in a message, so that later ones can end in a
// pointer to one of them (RFC 1035 §4.1.4). Most messages have a few, which are compared
// one by one; where there are more, and an answer over TCP can have 8,000, they are found
// by their hash.
type suffixes struct {
	list []suffix
	// slots is a hash table with open addressing: numbers in list, and 1. Its length is
	// a power of two, and 0 for as long as the list is short.
	slots []uint16
	// torn is set if of the last name in the list not all could be added, since its end
	// is where no pointer leads to. Otherwise, what a name in the list ends in is in it.
	torn bool
}

// suffix is where a name of that length is in the message. So many of its bytes as
// are plain are there, and then a pointer to the others if there are any.
type suffix struct {
	at            uint16
	length, plain uint8
	hash          uint32 // if there is a table
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
	s.torn = false
}

// expect has room made for the suffixes of a name. It must be called before the name
// becomes a part of the message.
func (s *suffixes) expect(message []byte, name record.Name) {
	// No name has more labels than half its bytes.
	if len(s.slots) > 0 || len(s.list)+len(name)/2 <= shortList || len(s.list)+name.Labels() <= shortList {
		return
	}
	for i := range s.list {
		s.list[i].hash = hashAt(message, int(s.list[i].at))
	}
	s.grow()
}

// longest returns where in a name the longest of its suffixes begins that the message
// has, and where that is. Without one, it begins at the root, and at is 0.
func (s *suffixes) longest(message []byte, name string) (start, at int) {
	if len(s.slots) > 0 {
		return s.longestByHash(message, name)
	}
	for ; name[start] != 0; start += int(name[start]) + 1 {
		rest := name[start:]
		for i := range s.list {
			// Most differ in length already, and need no call.
			if known := &s.list[i]; int(known.length) == len(rest) && known.is(message, rest) {
				return start, int(known.at)
			}
		}
	}
	return start, 0
}

// longestByHash tries few suffixes even of a name of many labels: all that are shorter
// than one in the list are in it too.
func (s *suffixes) longestByHash(message []byte, name string) (start, at int) {
	if at, ok := s.find(message, name); ok {
		return 0, at
	}
	var starts [maxLabels + 1]uint8
	labels := 0
	for i := 0; name[i] != 0; i += int(name[i]) + 1 {
		starts[labels] = uint8(i)
		labels++
	}
	starts[labels] = uint8(len(name) - 1)
	least, most := 1, labels // it begins at one of these
	if s.torn {
		last := s.list[len(s.list)-1] // the shortest that is known of its name
		for i := 1; i < labels; i++ {
			if last.is(message, name[starts[i]:]) {
				most, at = i, int(last.at)
			}
		}
	}
	for least < most {
		middle := (least + most) / 2
		if found, ok := s.find(message, name[starts[middle]:]); ok {
			most, at = middle, found
		} else {
			least = middle + 1
		}
	}
	return int(starts[min(most, labels)]), at
}

// find returns where the table has a name to be.
func (s *suffixes) find(message []byte, name string) (at int, ok bool) {
	hash := hashSuffix(name)
	for slot := s.slotOf(hash); s.slots[slot] != 0; slot = s.after(slot) {
		known := s.list[s.slots[slot]-1]
		if known.hash == hash && known.is(message, name) {
			return int(known.at), true
		}
	}
	return 0, false
}

// add adds the suffixes of a name that begin before a place in it, and that a pointer
// can lead to. So many bytes of it as are plain are, or are to be, at a place in the
// message.
func (s *suffixes) add(at int, name string, before, plain int) {
	for i := 0; i < before; i += int(name[i]) + 1 {
		if at+i >= pointerLimit {
			s.torn = s.torn || i > 0
			return
		}
		s.list = append(s.list, suffix{at: uint16(at + i), length: uint8(len(name) - i), plain: uint8(plain - i)})
		if len(s.slots) > 0 {
			s.list[len(s.list)-1].hash = hashSuffix(name[i:])
			s.index()
		}
	}
}

// index has the table find the last suffix of the list.
func (s *suffixes) index() {
	if 2*len(s.list) > len(s.slots) {
		s.grow()
	} else {
		s.insert(len(s.list) - 1)
	}
}

// truncate forgets all but the first n suffixes.
func (s *suffixes) truncate(n int) {
	s.torn = s.torn && n == len(s.list)
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

// hashAt returns the hash of a name that is in the message.
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

// is reports whether it is a name.
func (s *suffix) is(message []byte, name string) bool {
	at, plain := int(s.at), int(s.plain)
	return int(s.length) == len(name) && borrow(message[at:at+plain]) == name[:plain] &&
		(plain == len(name) || nameIsAt(message, at+plain, name[plain:]))
}

// nameIsAt reports whether a name is at a place in the message where one of the same
// length is.
func nameIsAt(message []byte, at int, name string) bool {
	for {
		for message[at] >= 0xc0 {
			at = int(message[at]&0x3f)<<8 | int(message[at+1])
		}
		if at+len(name) <= len(message) && borrow(message[at:at+len(name)]) == name {
			return true // without a pointer
		}
		end := int(message[at]) + 1
		if end == 1 || !strings.HasPrefix(name, borrow(message[at:at+end])) {
			return false
		}
		at, name = at+end, name[end:]
	}
}
