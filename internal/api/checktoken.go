package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/text"
)

// The kinds of error that CheckToken returns. Its errors wrap them.
var (
	ErrTokenEmpty    = errors.New("the token is empty")
	ErrTokenURL      = errors.New("the token is a URL: is the variable before it empty?")
	ErrTokenBraces   = errors.New("the token has braces in it: is it a placeholder that nothing replaced?")
	ErrTokenPrefix   = fmt.Errorf("a token begins with %q", tokenPrefix)
	ErrTokenLength   = fmt.Errorf("a token has %d characters", tokenLen)
	ErrTokenChecksum = errors.New("the token's check digits do not fit: was it cut or mistyped?")
)

// CheckToken reports whether s has the form of a token. Its errors never hold the
// token or a part of it. They do show what surrounds it, because a byte order mark or
// a NAME= is easily overlooked in a file.
func CheckToken(s string) error {
	if isToken(s) {
		return nil
	}
	at, whole := findToken(s)
	switch {
	case s == "":
		return ErrTokenEmpty
	case whole && s != "{"+s[at:at+tokenLen]+"}":
		return besideToken(s[:at], s[at:at+tokenLen], s[at+tokenLen:])
	case strings.Contains(s, "://"):
		return ErrTokenURL
	case strings.ContainsAny(s, "{}"):
		return ErrTokenBraces
	case at < 0:
		return noToken(s)
	case at > 0:
		return besideToken(s[:at], s[at:], "")
	case len(s) != tokenLen:
		return fmt.Errorf("%w, and this one has %d: was it cut, or is there more after it?", ErrTokenLength, len(s))
	}
	return ErrTokenChecksum
}

// CheckTokenFrom is [CheckToken] with an error that names where the token comes from, a
// file or a variable. An empty source is not named.
func CheckTokenFrom(source, s string) error {
	err := CheckToken(s)
	if err == nil || source == "" {
		return err
	}
	return fmt.Errorf("the token from %s: %w", text.Brief(source, mostOfSource), err)
}

// mostOfSource is how many bytes of a file's name are shown.
const mostOfSource = 300

// placeholder is one of Caddy's that reads a token from elsewhere.
var placeholder = regexp.MustCompile(`\{(?:env|file)\.[^{}]+\}`)

// PlaceholdersIn names the placeholders in a setting of Caddy's, as the source of what
// they stand for. It returns nothing else of the setting, which may be a secret itself.
func PlaceholdersIn(setting string) string {
	found := placeholder.FindAllString(setting, -1)
	found = slices.DeleteFunc(found, func(p string) bool { return strings.Contains(p, tokenPrefix) }) // around the token itself
	return strings.Join(found, " and ")
}

// PlaceholderValue returns the value of one of Caddy's placeholders, which must have one. The
// error names the placeholder, but only of a kind that cannot be a mistyped secret.
func PlaceholderValue(key string, value any) (any, error) {
	if value != nil && value != "" {
		return value, nil
	}
	if source := PlaceholdersIn("{" + key + "}"); source != "" {
		return nil, fmt.Errorf("is empty: there is nothing in %s", source)
	}
	return nil, errors.New("has braces around something that is not a placeholder")
}

func isToken(s string) bool {
	return len(s) == tokenLen && strings.HasPrefix(s, tokenPrefix) && tokenCheck(s[:tokenLen-tokenCheckLen]) == s[tokenLen-tokenCheckLen:]
}

// findToken returns where in s a token begins, and whether it is a whole one. Without a
// whole one it is the first that begins, or -1.
func findToken(s string) (at int, whole bool) {
	first := strings.Index(s, tokenPrefix)
	for at = first; at >= 0; {
		if len(s)-at >= tokenLen && isToken(s[at:at+tokenLen]) {
			return at, true
		}
		next := strings.Index(s[at+1:], tokenPrefix)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return first, false
}

// noToken is the error for a text in which no token begins. It may be another secret, so
// nothing of it is shown.
func noToken(s string) error {
	if strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff") || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%w, and these %d bytes are text in UTF-16, as some editors and PowerShell's > write it: save it as UTF-8 without a byte order mark", ErrTokenPrefix, len(s))
	}
	return fmt.Errorf("%w, which is nowhere in these %d bytes", ErrTokenPrefix, len(s))
}

// besideToken is the error for a token with something before or after it.
func besideToken(before, token, after string) error {
	secret := token[len(tokenPrefix):min(len(token), tokenLen)]
	switch {
	case after == "":
		return fmt.Errorf("%w: %s; remove that", ErrTokenPrefix, whatIsBefore(before, secret))
	case before == "":
		return fmt.Errorf("%w: %s; remove that", ErrTokenLength, whatFollows(after, secret))
	}
	return fmt.Errorf("%w and ends after %d characters: %s, and %s; remove both",
		ErrTokenPrefix, tokenLen, whatIsBefore(before, secret), whatFollows(after, secret))
}

// harmless is what usually surrounds a token by mistake: a byte order mark, blanks, quotes,
// a NAME= or the begin of a remark. Anything else may be another secret, and is not shown.
var (
	harmlessBefore = regexp.MustCompile("^\ufeff?[{\\s\"'`]*(?:export\\s+)?(?:\"?[A-Za-z_][A-Za-z0-9_]{0,39}\"?\\s*[=:]\\s*)?[\"'`]?$")
	harmlessAfter  = regexp.MustCompile("^[}\\s\"'`,;#/]{1,20}$")
)

// whatIsBefore says what precedes a token in its line.
func whatIsBefore(before, secret string) string {
	line := 1 + strings.Count(before, "\n")
	own := before[strings.LastIndexByte(before, '\n')+1:]
	what := fmt.Sprintf("%d bytes", len(own))
	if len(own) == 1 {
		what = "1 byte"
	}
	if harmlessBefore.MatchString(own) && !repeats(own, secret) {
		what = fmt.Sprintf("%q", own)
	}
	switch {
	case line > 1:
		return fmt.Sprintf("it is in line %d, after %s", line, what)
	case before == "\ufeff":
		return "what precedes it is " + what + ", a byte order mark, which editors do not show"
	}
	return "what precedes it is " + what
}

// whatFollows says what follows a token.
func whatFollows(after, secret string) string {
	if harmlessAfter.MatchString(after) && !repeats(after, secret) {
		return fmt.Sprintf("what follows it is %q", after)
	}
	if len(after) == 1 {
		return "1 byte follows it"
	}
	return fmt.Sprintf("%d bytes follow it", len(after))
}

// repeats reports whether a text has a part of the token's secret.
func repeats(s, secret string) bool {
	const part = 5
	for i := 0; i+part <= len(secret); i++ {
		if strings.Contains(s, secret[i:i+part]) {
			return true
		}
	}
	return false
}
