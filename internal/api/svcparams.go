package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/libdns/libdns"
)

// svcParamKeys are the numbers of the keys with names (RFC 9460 §14.3.2,
// RFC 9461 §5, RFC 9540 §4).
var svcParamKeys = map[string]int{
	"mandatory":       0,
	"alpn":            1,
	"no-default-alpn": 2,
	"port":            3,
	"ipv4hint":        4,
	"ech":             5,
	"ipv6hint":        6,
	"dohpath":         7,
	"ohttp":           8,
}

// svcParamNumber is where a key stands among others. Names that are not
// registered stand last.
func svcParamNumber(key string) int {
	if n, ok := svcParamKeys[key]; ok {
		return n
	}
	if digits, ok := strings.CutPrefix(key, "key"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return int(n)
		}
	}
	return 1 << 16
}

// appendSvcParams appends the parameters in the presentation format of RFC 9460
// §2.1, in the order of their numbers, each after a blank.
func appendSvcParams(dst []byte, params libdns.SvcParams) ([]byte, error) {
	type param struct {
		number int
		key    string
		values []string
	}
	sorted := make([]param, 0, len(params))
	for key, values := range params {
		lower := strings.ToLower(key)
		if !isSvcParamKey(lower) {
			return nil, fmt.Errorf("%q is no key of a service parameter (RFC 9460 §2.1)", key)
		}
		sorted = append(sorted, param{svcParamNumber(lower), lower, values})
	}
	slices.SortFunc(sorted, func(a, b param) int {
		if a.number != b.number {
			return a.number - b.number
		}
		return strings.Compare(a.key, b.key)
	})
	for i, p := range sorted {
		if i > 0 && p.key == sorted[i-1].key {
			return nil, fmt.Errorf("the service parameter %s is there twice", p.key)
		}
		dst = append(append(dst, ' '), p.key...)
		if value := joinSvcParam(p.key, p.values); value != "" {
			dst = appendSvcValue(append(dst, '='), value)
		}
	}
	return dst, nil
}

// joinSvcParam makes one value of the list that libdns has. Only the items of
// alpn can hold commas and backslashes, which are escaped once more there (RFC
// 9460 Appendix A.1).
func joinSvcParam(key string, values []string) string {
	if key != "alpn" {
		return strings.Join(values, ",")
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(alpnEscapes.Replace(v))
	}
	return b.String()
}

var alpnEscapes = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// splitSvcParam is the inverse of joinSvcParam. The value of a key that is no
// list is one item, whatever commas it has.
func splitSvcParam(key, value string) ([]string, error) {
	switch {
	case value == "":
		return []string{}, nil
	case key == "alpn":
		return splitALPN(value)
	case key == "mandatory" || key == "ipv4hint" || key == "ipv6hint":
		return strings.Split(value, ","), nil
	}
	return []string{value}, nil
}

func splitALPN(value string) ([]string, error) {
	var items []string
	var item []byte
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case ',':
			items, item = append(items, string(item)), item[:0]
		case '\\':
			i++
			if i == len(value) || value[i] != ',' && value[i] != '\\' {
				return nil, fmt.Errorf("alpn has a backslash that escapes neither a comma nor a backslash")
			}
			item = append(item, value[i])
		default:
			item = append(item, value[i])
		}
	}
	return append(items, string(item)), nil
}

// appendSvcValue appends value as char-string of RFC 9460 Appendix A. Unlike
// that of RFC 1035, it has no bare semicolon or parenthesis within quotes.
func appendSvcValue(dst []byte, value string) []byte {
	quote := strings.ContainsAny(value, " \t")
	if quote {
		dst = append(dst, '"')
	}
	for i := 0; i < len(value); i++ {
		switch b := value[i]; {
		case b == '"' || b == '\\' || b == ';' || b == '(' || b == ')':
			dst = append(dst, '\\', b)
		case b < ' ' || b > '~':
			dst = append(dst, '\\', '0'+b/100, '0'+b/10%10, '0'+b%10)
		default:
			dst = append(dst, b)
		}
	}
	if quote {
		dst = append(dst, '"')
	}
	return dst
}

// parseSvcParams reads what follows the target of an SVCB record. None gives nil.
func parseSvcParams(s string) (libdns.SvcParams, error) {
	if s == "" {
		return nil, nil
	}
	params := libdns.SvcParams{}
	for s != "" {
		end := strings.IndexAny(s, "="+blanks)
		if end < 0 {
			end = len(s)
		}
		key, value := strings.ToLower(s[:end]), ""
		if !isSvcParamKey(key) {
			return nil, fmt.Errorf("%q is no key of a service parameter", key)
		}
		switch s = s[end:]; {
		case s == "" || s[0] != '=':
			s = strings.TrimLeft(s, blanks)
		case len(s) == 1 || strings.ContainsRune(blanks, rune(s[1])):
			s = strings.TrimLeft(s[1:], blanks)
		default:
			var ok bool
			if value, s, ok = nextString(s[1:]); !ok {
				return nil, fmt.Errorf("the value of the service parameter %s does not parse", key)
			}
		}
		if _, twice := params[key]; twice {
			return nil, fmt.Errorf("the service parameter %s is there twice", key)
		}
		values, err := splitSvcParam(key, value)
		if err != nil {
			return nil, err
		}
		params[key] = values
	}
	return params, nil
}

func isSvcParamKey(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(b rune) bool {
		return b != '-' && !('a' <= b && b <= 'z') && !('0' <= b && b <= '9')
	})
}
