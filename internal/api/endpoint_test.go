package api

import (
	"strings"
	"testing"
)

// TestParseEndpointShows: an endpoint is no secret, and its error shows it, but for what may
// be one in it.
func TestParseEndpointShows(t *testing.T) {
	token := NewToken()
	for _, tt := range []struct{ name, endpoint, want string }{
		{"no scheme", "dns.example.net", `the endpoint "dns.example.net" has no scheme: write it as https://HOST`},
		{"http", "http://dns.example.net:80/x", `the endpoint "http://dns.example.net:80/x" is over http, which would send the token in the clear: use https (http is for loopback addresses only)`},
		{"another scheme", "ftp://dns.example.net", `the endpoint "ftp://dns.example.net" has another scheme than https`},
		{"byte order mark", "\ufeffhttps://dns.example.net", `the endpoint "\ufeffhttps://dns.example.net" is not a URL (first path segment in URL cannot contain colon): write it as https://HOST`},
		{"quotes", `"https://dns.example.net"`, `the endpoint "\"https://dns.example.net\"" is not a URL (first path segment in URL cannot contain colon): write it as https://HOST`},
		{"line break", "https://dns.example.net\r", `the endpoint "https://dns.example.net\r" is not a URL (net/url: invalid control character in URL): write it as https://HOST`},
		{"an invalid port", "https://dns.example.net:https", `the endpoint "https://dns.example.net:…" is not a URL (its port is not a number): write it as https://HOST`},
		{"an invalid escape", "https://dns.example.net/%zz", `the endpoint "https://dns.example.net/%zz" is not a URL (invalid URL escape "%zz"): write it as https://HOST`},
		{"long", "x" + strings.Repeat("é", 200), `the endpoint "x` + strings.Repeat("é", 99) + `…" has no scheme: write it as https://HOST`},
		{"braces", "https://{env.HOST}", `the endpoint "https://{env.HOST}" has braces in it: is it a placeholder that nothing replaced?`},
		{"password", "https://user:hunter2@dns.example.net/x", `the endpoint "https://…@dns.example.net/x" has a user name or password in it: the token is given by itself`},
		{"password with a slash", "https://user:hunter2/x@dns.example.net", `the endpoint "https://…@dns.example.net" is not a URL: write it as https://HOST`},
		{"password without a scheme", "user:hunter2@dns.example.net", `the endpoint "…@dns.example.net" has no scheme: write it as https://HOST`},
		{"password before a scheme", "user:hunter2@dns.example.net://x", `the endpoint "…@dns.example.net://x" is not a URL: write it as https://HOST`},
		{"query", "https://dns.example.net/?key=hunter2", `the endpoint "https://dns.example.net/?…" has a query or fragment: it is a URL with a path at most`},
		{"token", token, `the endpoint "bestdns_…" has no scheme: write it as https://HOST`},
		{"token in two parts", token[:30] + " " + token[30:], `the endpoint "bestdns_…" has no scheme: write it as https://HOST`},
		{"token for a host", "https://" + token, `there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself`},
		{"token in capitals, over http", "http://x." + strings.ToUpper(token), `there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself`},
		{"token for a password", "https://user:x" + token + "@dns.example.net", `the endpoint "https://…" has a user name or password in it: the token is given by itself`},
		{"token in a path", "https://dns.example.net/" + token, `there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself`},
		{"password without its @", "https://x:hunter2secret%40host", `the endpoint "https://x:…" is not a URL (its port is not a number): write it as https://HOST`},
		{"token in a path, over http", "http://dns.example.net/" + token, `there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself`},
		{"token with an escape", "http://dns.example.net/bestdns%5f" + token[8:], `there is a token in the endpoint: write the endpoint as https://HOST, and give the token by itself`},
		{"token before a scheme", token + "://dns.example.net", `the endpoint "bestdns_…" is not a URL: write it as https://HOST`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseEndpoint(tt.endpoint)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error\n%v, want\n%s", err, tt.want)
			}
		})
	}
}
