package record

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
)

// WriteMasterFile writes records as a master file (RFC 1035 §5), with $ORIGIN and
// $TTL first and all names in full, and returns the number of those that it left
// out: records that expire have no place in a file that knows no expiry, and
// would be there forever where it is read.
func WriteMasterFile(w io.Writer, zone Name, ttl uint32, records iter.Seq[Record]) (left int, err error) {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "$ORIGIN %s\n$TTL %d\n", zone, ttl)
	for r := range records {
		if r.Expires != 0 {
			left++
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\t%d\tIN\t%s\n", r.Name, r.TTL, r.Presentation()); err != nil {
			return left, err
		}
	}
	return left, out.Flush()
}

// Presentation returns type and data as they are in a master file, separated by a tab, a TXT
// record's strings one by one.
func (r Record) Presentation() string {
	data := genericText(r.Data)
	if r.Type == TypeTXT {
		if rr, err := unpack(r.Type, r.Data); err == nil {
			data = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
	} else if text := presentationText(r.Type, r.Data); isPlain(r.Type) || endsWithLine(r.Type, text, r.Data) {
		data = text
	}
	return r.Type.String() + "\t" + data
}

// endsWithLine reports whether data is read out of its text where another line follows: in
// some forms (SSHFP without a fingerprint, IPSECKEY) miekg/dns reads on into that.
func endsWithLine(t Type, text, data string) bool {
	if strings.HasPrefix(text, `\#`) {
		return true
	}
	parser := dns.NewZoneParser(strings.NewReader(". 0 IN "+t.String()+" "+text+"\n. 0 IN A 192.0.2.1\n"), ".", "")
	rr, ok := parser.Next()
	if !ok || Type(rr.Header().Rrtype) != t {
		return false
	}
	if again, err := packParsed(t, rr); err != nil || again != data {
		return false
	}
	next, ok := parser.Next()
	return ok && next.Header().Rrtype == dns.TypeA
}

// ReadMasterFile reads the records of a zone out of a master file (RFC 1035 §5,
// with $ORIGIN and $TTL; ttl is that of records without one). $INCLUDE is refused: a
// file should not make its reader read others. So are records outside the zone,
// in another class, and of types that no zone holds. SOA records are read like any
// other. Those of types that skip returns true for are not read; it may be nil. A byte order
// mark in front is skipped. The error says in which line of name it is.
func ReadMasterFile(file io.Reader, name string, zone Name, ttl uint32, skip func(Type) bool) ([]Record, error) {
	lines := &lineReader{Reader: bufio.NewReader(file)}
	if err := skipMark(lines.Reader, name); err != nil {
		return nil, err
	}
	parser := dns.NewZoneParser(lines, zone.String(), name)
	parser.SetDefaultTTL(ttl)
	var records []Record
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if skip != nil && skip(Type(rr.Header().Rrtype)) {
			continue
		}
		r, err := fromRR(rr)
		if err == nil && !r.Name.In(zone) {
			err = fmt.Errorf("the name %q is not in zone %q", r.Name, zone)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s, line %d: %w", name, max(lines.ended, 1), err)
		}
		records = append(records, r)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("reading a master file: %s", strings.TrimPrefix(err.Error(), "dns: "))
	}
	return records, nil
}

// lineReader counts lines. miekg/dns, which says of its own errors only in which line they are, reads it
// byte by byte, and no further than the end of the line of the record that it returns.
type lineReader struct {
	*bufio.Reader
	ended  int  // lines
	within bool // a line that has not ended
}

// ReadByte implements [io.ByteReader].
func (r *lineReader) ReadByte() (byte, error) {
	c, err := r.Reader.ReadByte()
	switch {
	case err == nil:
		r.within = c != '\n'
		if !r.within {
			r.ended++
		}
	case r.within: // the file's last line
		r.ended, r.within = r.ended+1, false
	}
	return c, err
}

// skipMark skips a byte order mark, as some editors put in front of UTF-8, and refuses
// UTF-16, of which the parser would make nonsense.
func skipMark(reader *bufio.Reader, name string) error {
	const mark = "\ufeff"
	first, _ := reader.Peek(len(mark)) // an error comes again when it is read
	switch start := string(first); {
	case start == mark:
		_, _ = reader.Discard(len(mark))
	case strings.HasPrefix(start, "\xff\xfe"), strings.HasPrefix(start, "\xfe\xff"), strings.Contains(start, "\x00"):
		return fmt.Errorf("%s is text in UTF-16: write it in UTF-8, without a byte order mark", name)
	}
	return nil
}

// checkASCII refuses names with bytes beyond ASCII, as [ParseName] does: miekg/dns keeps
// them, and nothing that asks for the name's A-label would ever find the record. Those that
// are escaped are meant.
func checkASCII(rr dns.RR) error {
	for _, name := range namesIn(reflect.ValueOf(rr).Elem()) {
		if i := strings.IndexFunc(*name, func(c rune) bool { return c >= utf8.RuneSelf }); i >= 0 {
			return fmt.Errorf("name %q: not ASCII; write an internationalized name in its A-label form (xn--…)", shorten(*name))
		}
	}
	return nil
}

// fromRR puts a record of a master file into canonical form, if it is one that can be written.
func fromRR(rr dns.RR) (Record, error) {
	if err := checkASCII(rr); err != nil {
		return Record{}, err
	}
	return WrittenFromRR(rr)
}

// WrittenFromRR is [FromRR] for a record that is to be written.
func WrittenFromRR(rr dns.RR) (Record, error) {
	r, err := FromRR(rr)
	if err != nil {
		return Record{}, err
	}
	if reason := unstorable(r.Type); reason != "" {
		return Record{}, fmt.Errorf("type %s at %q: %s", r.Type, r.Name, reason)
	}
	return r, nil
}

// FromRR puts a record that miekg/dns has unpacked from a message into canonical form. It may
// be of any type: what servers make is among what they send. It changes rr.
func FromRR(rr dns.RR) (Record, error) {
	header := rr.Header()
	if header.Class != dns.ClassINET {
		return Record{}, fmt.Errorf("%s: class %s, and there is only IN here", header.Name, dns.ClassToString[header.Class])
	}
	owner, err := NameFromLibrary(header.Name)
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", header.Name, err)
	}
	t := Type(header.Rrtype)
	if header.Ttl > MaxTTL {
		return Record{}, fmt.Errorf("%s at %q: TTL %d: not from 0 to %d seconds", t, owner, header.Ttl, MaxTTL)
	}
	if header.Rdlength > 0 {
		// It was in the form of RFC 3597, or in a message: miekg/dns has unpacked it.
		escapeOctets(rr)
	}
	ttl := header.Ttl
	data, err := packParsed(t, rr)
	if err != nil {
		return Record{}, fmt.Errorf("%s at %q: %w", t, owner, err)
	}
	return Record{Name: owner, Type: t, TTL: ttl, Data: data}, nil
}
