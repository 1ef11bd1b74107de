package api

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-dns/bestdns/internal/text"
)

// The kinds of error that CheckToken returns. Its errors wrap them.
var (
	ErrTokenEmpty    = errors.New("the token is empty")
	ErrTokenURL      = errors.New("a URL stands in the token's place: does the variable before it hold nothing?")
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
	return strings.Join(placeholder.FindAllString(setting, -1), " and ")
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

// mostBeside is how many bytes of what surrounds a token are shown.
const mostBeside = 60

// whatIsBefore shows the end of what precedes a token, of its own line only: other lines
// of the file may hold other secrets.
func whatIsBefore(before, secret string) string {
	line := 1 + strings.Count(before, "\n")
	shown := before[strings.LastIndexByte(before, '\n')+1:]
	cut := ""
	if len(shown) > mostBeside {
		shown, cut = shown[len(shown)-mostBeside:], "…"
	}
	shown = fmt.Sprintf("%q", cut+withoutSecrets(shown, secret))
	switch {
	case line > 1:
		return fmt.Sprintf("it stands in line %d, after %s", line, shown)
	case before == "\ufeff":
		return "what stands before it is " + shown + ", a byte order mark, which editors do not show"
	}
	return "what stands before it is " + shown
}

// whatFollows shows the beginning of what follows a token, to the end of its line.
func whatFollows(after, secret string) string {
	shown, rest, _ := strings.Cut(after, "\n")
	if len(shown) < len(after) {
		shown += "\n"
	}
	if rest != "" || len(shown) > mostBeside {
		shown = text.Clip(shown, mostBeside)
		shown = strings.TrimSuffix(shown, "…") + "…"
	}
	return fmt.Sprintf("what follows it is %q", withoutSecrets(shown, secret))
}

// wordsOfSecrets are what another secret may consist of, such as an earlier token in the
// same line.
var wordsOfSecrets = regexp.MustCompile(`[A-Za-z0-9]{16,}|(` + tokenPrefix + `)[A-Za-z0-9]{6,}`)

// withoutSecrets hides in s what may be a secret, and all of s where it repeats a part of
// the token's own.
func withoutSecrets(s, secret string) string {
	const part = 5
	for i := 0; i+part <= len(secret); i++ {
		if strings.Contains(s, secret[i:i+part]) {
			return "…"
		}
	}
	return wordsOfSecrets.ReplaceAllString(s, "${1}…")
}
