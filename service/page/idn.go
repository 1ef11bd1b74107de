package page

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"github.com/caddy-dns/bestdns/internal/text"
)

// Internationalized domain names are shown as people write them, with the form that DNS has beside them.
// A label that could be taken for another one stays as DNS has it.

// clearIDNA accepts what may be registered, with underscores around it.
var clearIDNA = idna.New(idna.ValidateLabels(true), idna.CheckHyphens(true), idna.CheckJoiners(true), idna.BidiRule(), idna.StrictDomainName(false))

const aLabelPrefix = "xn--"

// inClear returns a text with the domain names in it as people write them, "" if that changes nothing.
func (t Text) inClear() string {
	if len(t) > mostOfName || !strings.Contains(string(t), aLabelPrefix) {
		return ""
	}
	changed := false
	labels := strings.FieldsFunc(string(t), func(c rune) bool { return c == '.' || c == ' ' })
	var out strings.Builder
	rest := string(t)
	for _, label := range labels {
		before, after, _ := strings.Cut(rest, label)
		out.WriteString(before)
		clear := clearLabel(label)
		changed = changed || clear != label
		out.WriteString(clear)
		rest = after
	}
	out.WriteString(rest)
	if shown := Text(out.String()).String(); changed && shown == out.String() {
		return shown
	}
	return ""
}

// clearLabel returns a label as people write it where no one can take it for another one.
func clearLabel(label string) string {
	if !strings.HasPrefix(label, aLabelPrefix) {
		return label
	}
	clear, err := clearIDNA.ToUnicode(label)
	if err != nil || isConfusing(clear) || text.Visible(clear) != clear {
		return label
	}
	if back, err := clearIDNA.ToASCII(clear); err != nil || back != label {
		return label
	}
	return clear
}

// scripts are those that one label may have together. They are written together, or no letter of the one
// looks like a letter of the other.
var scripts = [][]*unicode.RangeTable{
	{unicode.Latin},
	{unicode.Latin, unicode.Han, unicode.Hiragana, unicode.Katakana, longVowel},
	{unicode.Latin, unicode.Han, unicode.Hangul},
	{unicode.Latin, unicode.Han, unicode.Bopomofo},
	{unicode.Cyrillic}, {unicode.Greek}, {unicode.Hebrew}, {unicode.Arabic}, {unicode.Thai}, {unicode.Devanagari},
	{unicode.Bengali}, {unicode.Tamil}, {unicode.Georgian},
}

// longVowel is the mark of a long vowel, which counts for no script and is written after kana.
var longVowel = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0x30FC, Hi: 0x30FC, Stride: 1}}}

// latinLookAlikes are the letters of other scripts that look like Latin ones.
const latinLookAlikes = "аысԁеԍһіюјӏорԗԛѕԝхуъьҽпгѵѡвкмнтɡαγεικνορτυχωη"

// isConfusing reports whether a label mixes scripts that are not written together, or looks all Latin and
// is not.
func isConfusing(label string) bool {
	looksLatin, isLatin := true, true
	for _, c := range label {
		if c < unicode.MaxASCII {
			continue
		}
		isLatin = isLatin && unicode.Is(unicode.Latin, c)
		looksLatin = looksLatin && strings.ContainsRune(latinLookAlikes, c)
	}
	if looksLatin && !isLatin {
		return true
	}
	for _, together := range scripts {
		if isWritten(label, together) {
			return false
		}
	}
	return true
}

// isWritten reports whether a label has no letters but those of some scripts.
func isWritten(label string, in []*unicode.RangeTable) bool {
	for _, c := range label {
		if c != '-' && !unicode.IsDigit(c) && !unicode.In(c, unicode.Inherited) && !unicode.In(c, in...) {
			return false
		}
	}
	return true
}
