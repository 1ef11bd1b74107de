package tsig

import (
	"encoding/binary"
	"errors"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Record is the TSIG record of a message (RFC 8945 §4.2). Its slices are parts of the
// message.
type Record struct {
	// Key and Algorithm are names in lower case. No key need have them.
	Key       record.Name
	Algorithm record.Name
	// Time is when the message was signed in Unix seconds, and Fudge how many seconds that
	// may be away from the reader's clock.
	Time  uint64
	Fudge uint16
	MAC   []byte
	// OriginalID is the message's ID when it was signed.
	OriginalID uint16
	Error      uint16
	Other      []byte

	start int // where it begins in the message
}

// errRecord is what reading ends with that finds no TSIG record.
var errRecord = errors.New("not a TSIG record that can be read")

const (
	headerLen  = 12
	rrFixedLen = 2 + 2 + 4 + 2     // type, class, TTL, length
	timersLen  = 6 + 2             // time signed, fudge
	restLen    = timersLen + 2 + 6 // with the lengths of MAC and other data, original ID and error
	maxNameLen = 255
)

// Read reads the TSIG record that begins at a place in a message and is its last one.
// There is no signature in an error: it is FORMERR.
func Read(message []byte, start int) (Record, error) {
	r := Record{start: start}
	at := 0
	if r.Key, at = readName(message, start); r.Key == "" || len(message)-at < rrFixedLen {
		return Record{}, errRecord
	}
	fixed := message[at : at+rrFixedLen]
	typ, class := binary.BigEndian.Uint16(fixed), binary.BigEndian.Uint16(fixed[2:])
	if typ != dns.TypeTSIG || class != dns.ClassANY || binary.BigEndian.Uint32(fixed[4:]) != 0 {
		return Record{}, errRecord
	}
	at += rrFixedLen
	size := int(binary.BigEndian.Uint16(fixed[8:]))
	if len(message)-at < size {
		return Record{}, errRecord
	}
	data := message[at : at+size]
	// Without a pointer (RFC 8945 §4.2).
	if r.Algorithm, at = readName(data, 0); at != len(r.Algorithm) || at == 0 || !r.readRest(data[at:]) {
		return Record{}, errRecord
	}
	return r, nil
}

// readRest reads the data after the name of the algorithm.
func (r *Record) readRest(data []byte) bool {
	if len(data) < restLen {
		return false
	}
	r.Time = uint64(binary.BigEndian.Uint16(data))<<32 | uint64(binary.BigEndian.Uint32(data[2:]))
	r.Fudge = binary.BigEndian.Uint16(data[6:])
	size := int(binary.BigEndian.Uint16(data[8:]))
	if len(data) < restLen+size {
		return false
	}
	r.MAC, data = data[10:10+size], data[10+size:]
	r.OriginalID, r.Error = binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	r.Other = data[6:]
	return len(r.Other) == int(binary.BigEndian.Uint16(data[4:]))
}

// Find returns where the last record of a message begins if that is a TSIG record, which
// is then its only one. ok is false for any other message.
func Find(message []byte) (start int, ok bool) {
	if len(message) < headerLen {
		return 0, false
	}
	at := headerLen
	for range binary.BigEndian.Uint16(message[4:]) {
		if at = record.SkipName(message, at); at == 0 || len(message)-at < 4 {
			return 0, false
		}
		at += 4
	}
	records := 0
	for section := 6; section < headerLen; section += 2 {
		records += int(binary.BigEndian.Uint16(message[section:]))
	}
	for ; records > 0; records-- { // at least 11 octets each
		start = at
		if at = record.SkipName(message, at); at == 0 || len(message)-at < rrFixedLen {
			return 0, false
		}
		if ok = binary.BigEndian.Uint16(message[at:]) == dns.TypeTSIG; ok && records > 1 {
			return 0, false
		}
		at += rrFixedLen + int(binary.BigEndian.Uint16(message[at+8:]))
	}
	return start, ok && at <= len(message) && binary.BigEndian.Uint16(message[10:]) > 0
}

// readName reads a name in lower case and returns where its end is, "" if there is none.
func readName(message []byte, at int) (name record.Name, end int) {
	buf := make([]byte, 0, maxNameLen)
	for before := len(message); at < len(message); {
		n := int(message[at])
		switch {
		case n >= 0xc0:
			if at+1 >= len(message) {
				return "", 0
			}
			if end == 0 {
				end = at + 2
			}
			to := n&0x3f<<8 | int(message[at+1])
			if to >= min(at, before) { // each leads further back, so that no loop is
				return "", 0
			}
			at, before = to, to
		case n > 63 || len(buf)+n+1 > maxNameLen || at+n+1 > len(message):
			return "", 0
		default:
			buf = append(buf, message[at:at+n+1]...)
			at += n + 1
			if n > 0 {
				continue
			}
			if end == 0 {
				end = at
			}
			name, err := record.NameFromWire(buf)
			if err != nil {
				return "", 0
			}
			return name, end
		}
	}
	return "", 0
}
