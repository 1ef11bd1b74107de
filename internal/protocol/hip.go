package protocol

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// hasCompressedHIP reports whether a message has a HIP record with a compressed name. It is the only
// type with any number of names: of a message of 64 kB, two bytes each could be made 255, which takes a
// second and a hundred megabytes.
func hasCompressedHIP(message []byte) bool {
	const header, question, fixed = 12, 4, 10
	if len(message) < header {
		return false
	}
	at := header
	for range binary.BigEndian.Uint16(message[4:]) {
		if at = record.SkipName(message, at); at == 0 {
			return false
		}
		at += question
	}
	for at < len(message) {
		if at = record.SkipName(message, at); at == 0 || len(message)-at < fixed {
			return false
		}
		typ, size := binary.BigEndian.Uint16(message[at:]), int(binary.BigEndian.Uint16(message[at+8:]))
		at += fixed
		if len(message)-at < size {
			return false
		}
		if typ == dns.TypeHIP && size > 0 && namesAreCompressed(message[at:at+size]) {
			return true
		}
		at += size
	}
	return false
}

// namesAreCompressed reports whether one of the names in the data of a HIP record is compressed.
func namesAreCompressed(data []byte) bool {
	const head = 4 // lengths of the two fields before the names, and an algorithm
	if len(data) < head {
		return false
	}
	at := head + int(data[0]) + int(binary.BigEndian.Uint16(data[2:]))
	for at < len(data) {
		n := int(data[at])
		if n >= 0xc0 {
			return true
		}
		at += n + 1
	}
	return false
}
