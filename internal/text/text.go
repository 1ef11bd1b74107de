// Package text makes what others wrote safe to show: in a log, on a terminal, on the page,
// in an error.
package text

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Visible returns s with everything in it that would not be seen, or would make it look
// like another text, in a form that is seen, such as ⟨U+202E⟩: control characters (line
// ends, DEL and C1 among them), those that turn the direction of text, invisible ones,
// blanks other than the space, marks stacked on one letter, and as ⟨9B⟩ the bytes that are
// not UTF-8. Other text is returned as it is, without allocation.
func Visible(s string) string {
	var out []byte
	written, marks := 0, 0 // bytes of s that are in out, and marks on the last letter
	i := 0
	for i < len(s) && ' ' <= s[i] && s[i] < 0x7F { // most texts are ASCII, and done here
		i++
	}
	for i < len(s) {
		c, size := runeAt(s, i)
		if marks = stacked(c, marks); isHidden(c, size, marks) {
			out = append(out, s[written:i]...)
			written = i + size
			if isInvalid(c, size) {
				out = fmt.Appendf(out, "⟨%02X⟩", s[i])
			} else {
				out = fmt.Appendf(out, "⟨U+%04X⟩", c)
			}
		}
		i += size
	}
	if written == 0 {
		return s
	}
	return string(append(out, s[written:]...))
}

// Clip returns s, or if it is longer than most bytes its beginning of at most so many,
// which ends between two characters, with "…" after it.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Brief is [Visible] and [Clip] in one: of a text of any length no more is looked at than
// is returned.
func Brief(s string, most int) string {
	return Clip(Visible(Clip(s, most)), most)
}

// runeAt is [utf8.DecodeRuneInString] with a shortcut for ASCII.
func runeAt(s string, i int) (rune, int) {
	if s[i] < utf8.RuneSelf {
		return rune(s[i]), 1
	}
	return utf8.DecodeRuneInString(s[i:])
}

func isInvalid(c rune, size int) bool { return c == utf8.RuneError && size == 1 }

// mostMarks is how many combining marks one letter may have: more of them would
// run over the lines above and below.
const mostMarks = 3

// stacked returns how many marks one letter has with c, of which it had marks before.
func stacked(c rune, marks int) int {
	if c >= utf8.RuneSelf && unicode.In(c, unicode.Mn, unicode.Me) {
		return marks + 1
	}
	return 0
}

// isHidden reports whether a character needs another form to be seen.
func isHidden(c rune, size, marks int) bool {
	if c < utf8.RuneSelf {
		return c < ' ' || c == 0x7F
	}
	return isInvalid(c, size) || !unicode.IsGraphic(c) || unicode.Is(unicode.Zs, c) || isBlank(c) || marks > mostMarks
}

// isBlank reports whether a character counts as a letter, symbol or mark and shows nothing.
func isBlank(c rune) bool {
	switch c {
	case 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0:
		return true
	}
	return unicode.Is(unicode.Variation_Selector, c)
}
