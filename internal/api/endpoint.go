package api

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/text"
)

// mostEndpoints is how many endpoints a client can have. A call that none of them answers
// tries each.
const mostEndpoints = 8

// ParseEndpoints reads the URLs of a service, separated by blanks or tabs. There is at
// least one. Its errors show the wrong one as [ShowEndpoint] does.
func ParseEndpoints(s string) ([]*url.URL, error) {
	given := strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == '\t' })
	switch {
	case len(given) == 0:
		given = []string{""} // for the error
	case len(given) > mostEndpoints:
		return nil, fmt.Errorf("there are %d endpoints, and a client takes %d at most", len(given), mostEndpoints)
	case len(given) > 1 && holdsToken(strings.Join(given, "")): // also one with a blank in it
		return nil, errTokenInEndpoint
	}
	var urls []*url.URL
	for _, one := range given {
		u, err := ParseEndpoint(one)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(urls, func(other *url.URL) bool { return baseOf(other) == baseOf(u) }) {
			return nil, fmt.Errorf("the endpoint %s is given twice", ShowEndpoint(one))
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// baseOf returns an endpoint without its last slash, escaped.
func baseOf(u *url.URL) string {
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/")
}

var errTokenInEndpoint = errors.New("there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself")

// ParseEndpoint checks the URL of a service. Its errors show it as [ShowEndpoint] does.
func ParseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	shown := ShowEndpoint(s)
	refuse := func(format string, args ...any) (*url.URL, error) {
		return nil, fmt.Errorf("the endpoint %s "+format, append([]any{shown}, args...)...)
	}
	switch {
	case s == "":
		return nil, errors.New("the endpoint is empty")
	case strings.ContainsAny(s, "{}"):
		return refuse("has braces in it: is it a placeholder that nothing replaced?")
	case !strings.Contains(s, "://"):
		return refuse("has no scheme: write it as https://HOST")
	case err != nil || u.Hostname() == "":
		return refuse("is not a URL%s: write it as https://HOST", whyNoURL(err, s))
	case strings.Contains(u.Host, ","):
		return refuse("has a comma in its host: several endpoints are separated by blanks")
	case u.User != nil:
		return refuse("has a user name or password in it: the token is given by itself")
	case holdsToken(s):
		return nil, errTokenInEndpoint
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("has a query or fragment: it is a URL with a path at most")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return refuse("is over http, which would send the token in the clear: use https (http is for loopback addresses only)")
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("has another scheme than https")
	}
	return u, nil
}

// whyNoURL says what is wrong with a URL that does not parse. That repeats a part of it,
// so it is left out where a part of it is hidden.
func whyNoURL(err error, s string) string {
	var parsing *url.Error
	switch {
	case !errors.As(err, &parsing):
		return ""
	case strings.HasPrefix(parsing.Err.Error(), "invalid port") && !strings.Contains(s, "@"):
		return " (its port is not a number)"
	case hideSecrets(s) != s:
		return ""
	}
	return " (" + text.Brief(parsing.Err.Error(), mostOfEndpoint) + ")"
}

// likeToken is a token or the most of one.
var likeToken = regexp.MustCompile(`(?i)` + tokenPrefix + `[0-9a-z]{20}`)

// holdsToken reports whether there is what may be a token in a URL.
func holdsToken(s string) bool {
	plain, err := url.PathUnescape(s)
	return likeToken.MatchString(s) || err == nil && likeToken.MatchString(plain)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// mostOfEndpoint is how many bytes of an endpoint are shown.
const mostOfEndpoint = 200

// ShowEndpoint quotes an endpoint for an error or a log. It is no secret, but one may be
// in it by mistake: user name and password, query and a token are hidden.
func ShowEndpoint(s string) string {
	return fmt.Sprintf("%q", text.Clip(hideSecrets(s), mostOfEndpoint))
}

// hideSecrets works on the text, because what does not parse as a URL may have the same
// secrets in it.
func hideSecrets(s string) string {
	const hidden = "…"
	if plain, err := url.PathUnescape(s); err == nil && indexToken(plain) >= 0 && indexToken(s) < 0 {
		return hidden
	}
	scheme, rest := "", s
	if i := strings.Index(s, "://"); i >= 0 && !strings.ContainsAny(s[:i], "@:_") {
		scheme, rest = s[:i+3], s[i+3:]
	}
	// The last @, because a password may have a slash or another @ in it.
	at, token := strings.LastIndexByte(rest, '@'), indexToken(rest)
	switch {
	case token >= 0 && at > token:
		return scheme + hidden
	case at >= 0:
		rest = hidden + rest[at:]
	}
	// The rest of a token may follow a blank, so all that follows goes.
	if i := indexToken(rest); i >= 0 {
		return scheme + rest[:i+len(tokenPrefix)] + hidden
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 && i+1 < len(rest) {
		rest = rest[:i+1] + hidden
	}
	// What is not a port may be a password without its @.
	host, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, ':'); at < 0 && i >= 0 && strings.Trim(host[i+1:], "0123456789") != "" && !strings.HasSuffix(host, "]") {
		rest = host[:i+1] + hidden
		if path != "" {
			rest += "/" + path
		}
	}
	return scheme + rest
}

// tokenStart is how a token begins, in capitals too.
var tokenStart = regexp.MustCompile(`(?i)` + tokenPrefix)

// indexToken returns where a token begins in s, -1 if none does.
func indexToken(s string) int {
	if at := tokenStart.FindStringIndex(s); at != nil {
		return at[0]
	}
	return -1
}
