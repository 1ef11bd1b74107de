package acmednsdump

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is the kind of a token of SQL.
type kind uint8

const (
	end    kind = iota // of the dump
	word               // a keyword, a number or a name without quotes, in lower case
	quoted             // a name in quotes, in lower case
	text               // a string
	blob               // the bytes that are written X'…'
	symbol             // any other character
)

// token is a token of SQL. Comments and blanks are not tokens.
type token struct {
	kind kind
	text string
	line int
	// bad says why text is not what the dump has, if it is not.
	bad error
}

func (t token) is(k kind, text string) bool { return t.kind == k && t.text == text }

func (t token) isName() bool { return t.kind == word || t.kind == quoted }

var (
	errLong   = fmt.Errorf("has more than %d bytes, which are the most", maxValue)
	errHex    = errors.New("is written X'…' with something else than hexadecimal digits in it")
	errEscape = errors.New("has an escape sequence that PostgreSQL does not have")
)

// scanner cuts a dump into tokens. It reads both dialects at once: where one has what the other
// lacks, such as E'…' and $tag$…$tag$ of PostgreSQL, the other does not write the same characters
// with another meaning.
type scanner struct {
	in      *bufio.Reader
	size    int64 // of what was read
	maxSize int64
	line    int
	// token is what was read last.
	token token
	buf   []byte
	long  bool // what is read has more bytes than buf has
	// inPostgres is set from pg_dump's first comment to its last.
	inPostgres bool
}

// refuseOtherFormats refuses a file whose first bytes are not SQL, and says what to do.
func (s *scanner) refuseOtherFormats() error {
	for _, format := range []struct{ begin, advice string }{
		{"SQLite format 3\x00", "this is an SQLite database, not a dump of it: make one with \"sqlite3 acme-dns.db .dump\""},
		{"PGDMP", "this is a dump in pg_dump's own format, and SQL is needed: make it without --format"},
		{"\x1f\x8b", "the dump is compressed: decompress it"},
		{"\xff\xfe", "the dump is in UTF-16, as some shells of Windows write it, and UTF-8 is needed: have the program write the file itself, by sqlite3's .output or pg_dump's --file"},
	} {
		if begin, _ := s.in.Peek(len(format.begin)); string(begin) == format.begin { // its error comes again
			return errors.New(format.advice)
		}
	}
	const mark = "\xef\xbb\xbf"
	if begin, _ := s.in.Peek(len(mark)); string(begin) == mark {
		_, err := s.in.Discard(len(mark))
		return err
	}
	return nil
}

// byte returns the next byte, [io.EOF] after the last one.
func (s *scanner) byte() (byte, error) {
	c, err := s.in.ReadByte()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("reading the dump: %w", err)
		}
		return 0, err
	}
	if s.size++; s.size > s.maxSize {
		return 0, fmt.Errorf("the dump has more than %d bytes, which are the most: leave the table txt out of it, which is not needed", s.maxSize)
	}
	if c == '\n' {
		s.line++
	}
	return c, nil
}

// peek returns the byte that [scanner.byte] will return, 0 if there is none.
func (s *scanner) peek() byte {
	next, err := s.in.Peek(1)
	if err != nil {
		return 0
	}
	return next[0]
}

func (s *scanner) begin() { s.buf, s.long = s.buf[:0], false }

// keep adds a byte to what is kept of a token.
func (s *scanner) keep(c byte) {
	if len(s.buf) == maxValue {
		s.long = true
		return
	}
	s.buf = append(s.buf, c)
}

// next reads the next token.
func (s *scanner) next() error {
	for {
		s.token = token{line: s.line}
		c, err := s.byte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case c == ' ' || '\t' <= c && c <= '\r':
		case c == '-' && s.peek() == '-':
			if err := s.comment(); err != nil {
				return err
			}
		case c == '/' && s.peek() == '*':
			if err := s.blockComment(); err != nil {
				return err
			}
		default:
			return s.tokenFrom(c)
		}
	}
}

// tokenFrom reads the token that begins with c.
func (s *scanner) tokenFrom(c byte) error {
	s.begin()
	switch {
	case c == '\'':
		return s.string(text)
	case c == '"' || c == '`':
		return s.name(c)
	case c == '$':
		return s.dollars()
	case !isWord(c):
		s.token.kind, s.token.text = symbol, string(rune(c))
		return nil
	}
	s.keep(lower(c))
	for isWord(s.peek()) {
		if c, err := s.byte(); err != nil {
			return err
		} else {
			s.keep(lower(c))
		}
	}
	if s.peek() == '\'' && len(s.buf) == 1 {
		switch s.buf[0] {
		case 'x':
			return s.quotedAs(blob)
		case 'e':
			return s.quotedAs(text)
		}
	}
	s.finish(word)
	return nil
}

// finish makes a token of what was kept.
func (s *scanner) finish(k kind) {
	s.token.kind, s.token.text = k, string(s.buf)
	if s.long {
		s.token.bad = errLong
	}
}

// unfinished is the error of something that has no end.
func (s *scanner) unfinished(err error, what string) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("the dump ends within %s that begins in line %d: it is not complete, or it is not as sqlite3 or pg_dump write it", what, s.token.line)
}

// string reads a string after its first quote, in which two quotes are one.
func (s *scanner) string(k kind) error {
	return s.untilQuote('\'', k, "a string")
}

// name reads a name in quotes.
func (s *scanner) name(quote byte) error {
	err := s.untilQuote(quote, quoted, "a name in quotes")
	s.token.text = strings.ToLower(s.token.text)
	return err
}

func (s *scanner) untilQuote(quote byte, k kind, what string) error {
	for {
		c, err := s.byte()
		if err != nil {
			return s.unfinished(err, what)
		}
		if c == quote {
			if s.peek() != quote {
				s.finish(k)
				return nil
			}
			if _, err := s.byte(); err != nil {
				return err
			}
		}
		s.keep(c)
	}
}

// quotedAs reads what has a letter before its quotes: X'…' and E'…'.
func (s *scanner) quotedAs(k kind) error {
	s.begin()
	if _, err := s.byte(); err != nil { // the quote
		return err
	}
	if k == blob {
		if err := s.string(blob); err != nil {
			return err
		}
		bytes, err := hex.DecodeString(s.token.text)
		if s.token.text = string(bytes); err != nil && s.token.bad == nil {
			s.token.bad = errHex
		}
		return nil
	}
	if err := s.escaped(); err != nil {
		return err
	}
	if s.token.bad == nil {
		s.token.text, s.token.bad = unescape([]byte(s.token.text))
	}
	return nil
}

// escaped reads a string in which a backslash takes the meaning from a quote. Escapes are kept.
func (s *scanner) escaped() error {
	for {
		c, err := s.byte()
		if err != nil {
			return s.unfinished(err, "a string")
		}
		switch c {
		case '\\':
			s.keep(c)
			if c, err = s.byte(); err != nil {
				return s.unfinished(err, "a string")
			}
		case '\'':
			if s.peek() != '\'' {
				s.finish(text)
				return nil
			}
			if _, err := s.byte(); err != nil {
				return err
			}
		}
		s.keep(c)
	}
}

// unescape returns what a string of PostgreSQL with backslashes means, in E'…' and in COPY: the
// sequences that one of them has, the other does not write with another meaning.
func unescape(in []byte) (string, error) {
	if bytes.IndexByte(in, '\\') < 0 {
		return string(in), nil
	}
	var out []byte
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' {
			out = append(out, in[i])
			continue
		}
		i++
		if i == len(in) {
			return "", errEscape
		}
		digits := func(base, most int) (n uint64) {
			from := i
			for i < len(in) && i < from+most && isDigit(in[i], base) {
				i++
			}
			n, _ = strconv.ParseUint(string(in[from:i]), base, 32) // 0 without digits
			i--                                                    // the loop's own step
			return n
		}
		switch c := in[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'v':
			out = append(out, '\v')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			out = append(out, byte(digits(8, 3)))
		case 'x':
			if i+1 == len(in) || !isDigit(in[i+1], 16) {
				out = append(out, c)
				continue
			}
			i++
			out = append(out, byte(digits(16, 2)))
		case 'u', 'U':
			most := 4
			if c == 'U' {
				most = 8
			}
			i++
			from := i
			n := digits(16, most)
			if i+1-from != most || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
				return "", errEscape
			}
			out = utf8.AppendRune(out, rune(n))
		default:
			out = append(out, c)
		}
	}
	return string(out), nil
}

func isDigit(c byte, base int) bool {
	n := strings.IndexByte("0123456789abcdef", lower(c))
	return 0 <= n && n < base
}

// dollars reads a string between two tags of dollars, such as $$…$$, after its first dollar. No
// account has one.
func (s *scanner) dollars() error {
	for isWord(s.peek()) && s.peek() != '$' {
		c, err := s.byte()
		if err != nil {
			return err
		}
		s.keep(c)
	}
	if s.peek() != '$' || s.long || len(s.buf) > 0 && isDigit(s.buf[0], 10) { // as $1
		s.token.kind, s.token.text = symbol, "$"
		return nil
	}
	tag := "$" + string(s.buf) + "$"
	s.token.kind, s.token.text = symbol, tag
	seen := 0 // how much of the tag was read
	for first := true; ; first = false {
		c, err := s.byte()
		if err != nil {
			return s.unfinished(err, "a string between dollars")
		}
		switch {
		case first: // which is the last dollar of the opening tag
		case c == tag[seen]:
			if seen++; seen == len(tag) {
				return nil
			}
		case c == '$':
			seen = 1
		default:
			seen = 0
		}
	}
}

// Comments of pg_dump that say whether the dump is complete.
const (
	postgresBegins = "PostgreSQL database dump"
	postgresEnds   = "PostgreSQL database dump complete"
)

// comment reads a comment from its second hyphen on.
func (s *scanner) comment() error {
	line, _, err := s.readLine(len(postgresEnds) + 4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.TrimSpace(strings.TrimLeft(string(line), "-")) {
	case postgresBegins:
		s.inPostgres = true
	case postgresEnds:
		s.inPostgres = false
	}
	return nil
}

func (s *scanner) blockComment() error {
	if _, err := s.byte(); err != nil { // the asterisk
		return err
	}
	for {
		c, err := s.byte()
		if err != nil {
			return s.unfinished(err, "a comment")
		}
		if c == '*' && s.peek() == '/' {
			_, err := s.byte()
			return err
		}
	}
}

func (s *scanner) skipLine() error {
	_, _, err := s.readLine(0)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readLine reads what is left of a line, and returns as much of it as it is to keep, without the
// end of the line. What it returns is valid until the next token. The error is [io.EOF] for a line
// that has no end.
func (s *scanner) readLine(most int) (line []byte, long bool, err error) {
	s.begin()
	for {
		c, err := s.byte()
		if err != nil || c == '\n' {
			return bytes.TrimSuffix(s.buf, []byte("\r")), long, err
		}
		if len(s.buf) == most {
			long = true
			continue
		}
		s.keep(c)
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'z'
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
