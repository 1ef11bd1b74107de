package api

// A record's data that ends in a name: numbers and the name, on one line, with blanks
// between them (RFC 1035 §5.1).

// isWord reports whether s, a name, stays one word between others: all characters that
// would end it or begin something else are escaped. The empty string does.
func isWord(s string) bool {
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

// splitWords splits s at its blanks, but not at escaped ones.
func splitWords(s string) (words []string) {
	begin := 0
	for i := 0; ; i++ {
		switch {
		case i >= len(s):
			if begin < len(s) {
				words = append(words, s[begin:])
			}
			return words
		case s[i] == '\\':
			i++
		case s[i] == ' ' || s[i] == '\t':
			if begin < i {
				words = append(words, s[begin:i])
			}
			begin = i + 1
		}
	}
}
