package api

import (
	"strconv"
	"strings"
)

// What of the presentation format (RFC 1035 §5.1) is needed to write and read
// the data of one record: tokens, numbers and quoted strings, on one line.

// blanks separate tokens. A line break cannot stand within a record's data.
const blanks = " \t"

// oneToken reports whether s, a name, stays one token between others: none of the
// characters that would end it, or begin something else, is unescaped. The empty
// string does.
func oneToken(s string) bool {
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return false
			}
		case b <= ' ', b == 0x7f, b == '"', b == '(', b == ')', b == ';':
			return false
		}
	}
	return true
}

// nextToken splits s behind its first token; no token gives "".
func nextToken(s string) (token, rest string) {
	s = strings.TrimLeft(s, blanks)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++ // an escaped blank ends no token
		case ' ', '\t':
			return s[:i], strings.TrimLeft(s[i:], blanks)
		}
	}
	return s, ""
}

// nextUint splits s behind its first token, a decimal number of so many bits
// in its shortest form.
func nextUint(s string, bits int) (n uint64, rest string, ok bool) {
	token, rest := nextToken(s)
	n, err := strconv.ParseUint(token, 10, bits)
	return n, rest, err == nil
}

// nextString reads a <character-string>, quoted or not, and resolves its
// escapes. What follows it must be separated from it.
func nextString(s string) (value, rest string, ok bool) {
	s = strings.TrimLeft(s, blanks)
	quoted := strings.HasPrefix(s, `"`)
	if quoted {
		s = s[1:]
	} else if s == "" {
		return "", "", false
	}
	var buf []byte
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '\\':
			c, n := unescape(s[i:])
			if n == 0 {
				return "", "", false
			}
			buf = append(buf, c)
			i += n - 1
		case b == '"' && quoted:
			rest = strings.TrimLeft(s[i+1:], blanks)
			return string(buf), rest, rest == "" || len(rest) < len(s)-i-1
		case (b == ' ' || b == '\t') && !quoted:
			return string(buf), strings.TrimLeft(s[i:], blanks), true
		case b < ' ' && b != '\t', b == 0x7f:
			return "", "", false
		case !quoted && (b == '"' || b == '(' || b == ')' || b == ';'):
			return "", "", false
		default:
			buf = append(buf, b)
		}
	}
	return string(buf), "", !quoted
}

// unescape reads the escape at the start of s, \X or \DDD, and tells how long
// it is; 0 means that there is none.
func unescape(s string) (b byte, length int) {
	switch {
	case len(s) < 2:
		return 0, 0
	case s[1] < '0' || s[1] > '9':
		if s[1] < ' ' || s[1] > '~' {
			return 0, 0
		}
		return s[1], 2
	case len(s) < 4:
		return 0, 0
	}
	n, err := strconv.ParseUint(s[1:4], 10, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), 4
}

// appendQuoted appends value as a quoted <character-string>.
func appendQuoted(dst []byte, value string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(value); i++ {
		switch b := value[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b < ' ' || b > '~':
			dst = append(dst, '\\', '0'+b/100, '0'+b/10%10, '0'+b%10)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}
