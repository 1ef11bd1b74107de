package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// target is a service under attack.
type target struct {
	*harness.World
	caddy *harness.Caddy
	// Proxy is the address of a proxy before the API, which the API trusts.
	Proxy string
	// FarToken is accepted from 192.0.2.0/24 only.
	FarToken string
}

func newTarget(t *testing.T) *target {
	t.Helper()
	w := harness.NewWorld(t)
	a := &target{World: w, Proxy: harness.FreeAddr(t), FarToken: api.NewToken()}
	a.caddy = harness.StartCaddy(t, harness.CaddyBinary, "attack.caddyfile", w.Env(t), harness.Env{
		"PROXY_PORT": harness.Port(t, a.Proxy), "FAR_DIGEST": harness.Digest(a.FarToken),
	})
	t.Cleanup(func() {
		for _, token := range []string{w.Token, a.FarToken, base64.StdEncoding.EncodeToString([]byte("x:" + w.Token))} {
			if strings.Contains(a.caddy.Log.String(), token) {
				t.Error("a token is in Caddy's log")
			}
		}
	})
	return a
}

// assertUntouched fails the test if the zone holds anything but what the server
// makes.
func (a *target) assertUntouched(t *testing.T, what string) {
	t.Helper()
	for _, r := range a.Records(t, harness.HostedZone) {
		if r.Type != "SOA" && r.Type != "NS" && r.Name != "ns1" {
			t.Fatalf("%s: the zone has a record %s %s", what, r.Name, r.Type)
		}
	}
}

// raw sends bytes as they are and returns what comes back until the server closes,
// or has been silent for a while.
func raw(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	answer, _ := io.ReadAll(conn) // an error is the end of the answer
	return string(answer)
}

// change is a request for a change with a right token, as it would be smuggled.
func (a *target) change(host string) string {
	const body = `{"append":[{"name":"smuggled","type":"TXT","data":"x"}]}`
	return fmt.Sprintf("PATCH /v1/zones/%s/records HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", harness.HostedZone, host, a.Token, len(body), body)
}

// who asks who the service takes the caller for.
func (a *target) who(t *testing.T, addr string, header http.Header, authorization ...string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/v1/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header["Authorization"] = authorization
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var token api.Token
	json.NewDecoder(resp.Body).Decode(&token)
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", token.Client))
}

// TestSeveralIdentities: of several Authorization headers, a proxy may have looked
// at another one than the service.
func TestSeveralIdentities(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	bearer, reader := "Bearer "+a.Token, "Bearer "+a.Reader
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+a.Token))
	basicUser := "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Token+":"))
	for _, test := range []struct {
		name          string
		authorization []string
		want          string
	}{
		{"bearer", []string{bearer}, "200 web"},
		{"basic", []string{basic}, "200 web"},
		{"token as user", []string{basicUser}, "401"},
		{"two tokens", []string{bearer, reader}, "401"},
		{"the same twice", []string{bearer, bearer}, "401"},
		{"bearer and basic", []string{reader, basic}, "401"},
		{"basic and bearer", []string{basic, reader}, "401"},
		{"empty one first", []string{"", bearer}, "401"},
		{"in one line", []string{bearer + ", " + reader}, "401"},
		{"bearer in basic", []string{"Basic " + bearer}, "401"},
		{"two spaces", []string{"Bearer  " + a.Token}, "200 web"},
		{"with something after it", []string{bearer + " x"}, "401"},
		{"in another case", []string{"Bearer " + strings.ToLower(a.Token)}, "401"},
		{"digest of the token", []string{"Bearer " + harness.Digest(a.Token)}, "401"},
	} {
		for _, addr := range []string{a.API, a.Proxy} {
			if got := a.who(t, addr, nil, test.authorization...); got != test.want {
				t.Errorf("%s, to %s: %s, want %s", test.name, addr, got, test.want)
			}
		}
	}
}

// TestForgedAddress: the address in a header counts if a trusted proxy sent it.
func TestForgedAddress(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	far := "Bearer " + a.FarToken
	for _, test := range []struct {
		name, addr, header, value string
		want                      string
	}{
		{"nothing", a.API, "", "", "401"},
		{"forged", a.API, "X-Forwarded-For", "192.0.2.1", "401"},
		{"forged, with more", a.API, "X-Forwarded-For", "192.0.2.1, 127.0.0.2", "401"},
		{"forged, another header", a.API, "X-Real-Ip", "192.0.2.1", "401"},
		{"forged, Forwarded", a.API, "Forwarded", "for=192.0.2.1", "401"},
		// Caddy's proxy overwrites the header of a client that it does not trust.
		{"forged before the proxy", a.Proxy, "X-Forwarded-For", "192.0.2.1", "401"},
		{"forged before the proxy, a list", a.Proxy, "X-Forwarded-For", "192.0.2.1, 192.0.2.2", "401"},
	} {
		header := http.Header{}
		if test.header != "" {
			header.Set(test.header, test.value)
		}
		if got := a.who(t, test.addr, header, far); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	// From the address of the proxy itself it counts.
	from := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	for value, want := range map[string]int{"192.0.2.1": 200, "198.51.100.1": 401, "": 401} {
		req, err := http.NewRequest(http.MethodGet, "http://"+a.API+"/v1/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", far)
		req.Header.Set("X-Forwarded-For", value)
		resp, err := from.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("the trusted proxy says %q: %d, want %d", value, resp.StatusCode, want)
		}
	}
	from.CloseIdleConnections()
}

// TestPathTricks: what is in the path is a zone, an error, or not for the
// service.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	const body = `{"append":[{"name":"x","type":"TXT","data":"x"}]}`
	for path, want := range map[string]string{
		"/v1/zones/%2e%2e/records":                              "422",
		"/v1/zones/../records":                                  "422",
		"/v1/zones/%2e/records":                                 "404", // the root, which is not hosted
		"/v1/zones/hosted.example%00/records":                   "422",
		"/v1/zones/hosted.example%0a/records":                   "422",
		"/v1/zones/hosted.example%0d%0aX-Injected:%20y/records": "422",
		"/v1/zones/hosted%252eexample/records":                  "404",
		"/v1/zones/hosted.example%2frecords/records":            "404",
		"/v1/zones/hosted.example%2f..%2fother/records":         "422",
		"/v1/zones/hosted.example;x/records":                    "422",
		"/v1/zones/hosted.example%3Fname=x/records":             "404",
		"/v1/zones/hosted.example%23/records":                   "404",
		"/v1/zones/hosted%E3%80%82example/records":              "422", // an ideographic full stop
		"/v1/zones/h%C3%B6sted.example/records":                 "422",
		"/v1/zones/h\xf6sted.example/records":                   "422",
		"/v1/zones/%ff%fe/records":                              "422",
		"/v1/zones/xn--hsted-jua.example/records":               "404",
		"/v1/zones/XN--/records":                                "404",
		"/v1/zones/%3Cscript%3E/records":                        "404",
		"/v1/zones/hosted.example\\032/records":                 "404",
		"/v1/zones/" + strings.Repeat("a", 5000) + "/records":   "422",
		"/v1/zones/%zz/records":                                 "400",
		"/v1/zones/a/../hosted.example/records":                 "404",
		"/V1/zones/hosted.example/records":                      "299",
		"/v1%2fzones%2fhosted.example%2frecords":                "299",
	} {
		answer := raw(t, a.API, fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, a.API, a.Token, len(body), body))
		if !strings.HasPrefix(answer, "HTTP/1.1 "+want+" ") {
			t.Errorf("%.80q: want %s, got %.500s", path, want, answer)
		}
		if strings.Contains(answer, "\nX-Injected") {
			t.Errorf("%q made a header", path)
		}
		a.assertUntouched(t, path)
	}
}

// TestHTMLIsText: what a browser would run comes back as JSON, and nothing guesses
// otherwise.
func TestHTMLIsText(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	const html = `<script>alert(1)</script><!--]]>`
	call := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+a.API+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+a.Token)
		req.Header.Set("Accept", "text/html")
		req.Header.Set("Origin", "https://evil.example")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	records := "/v1/zones/" + harness.HostedZone + "/records"
	append := func(name, typ, data string) string {
		text, err := json.Marshal(api.Change{Append: []api.Record{{Name: name, Type: typ, Data: &data}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, step := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"in a value", "PATCH", records, append("html", "TXT", html), 200},
		{"in a name", "PATCH", records, append("<b>", "TXT", html), 200},
		{"what is there", "GET", records, "", 200},
		{"in an invalid name", "PATCH", records, append(html+" ", "TXT", "x"), 422},
		{"in a type", "PATCH", records, append("x", html, "x"), 422},
		{"in invalid data", "PATCH", records, append("x", "A", html), 422},
		{"in a key", "PATCH", records, `{"` + html + `":1}`, 400},
		{"in a query", "GET", records + "?%3Cscript%3E=1", "", 400},
		{"in a path", "GET", "/v1/zones/%3Cscript%3Ealert(1)%3C%2Fscript%3E/records", "", 422},
		{"a method", "OPTIONS", records, "", 405},
	} {
		resp, body := call(step.method, step.path, step.body)
		if resp.StatusCode != step.status {
			t.Errorf("%s: %d %s, want %d", step.name, resp.StatusCode, body, step.status)
		}
		mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if mediaType != "application/json" && mediaType != "application/problem+json" {
			t.Errorf("%s: the answer is %q", step.name, mediaType)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || strings.ContainsAny(body, "<>") {
			t.Errorf("%s: a browser could take this for HTML: %v %s", step.name, resp.Header, body)
		}
		for header := range resp.Header {
			if strings.HasPrefix(header, "Access-Control-") {
				t.Errorf("%s: pages of other origins are let in: %s", step.name, header)
			}
		}
	}
}

// TestHugeAndEndless: bodies and headers beyond all limits are refused before they
// are kept, and the change in them is not made.
func TestHugeAndEndless(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	head := func(token string, header string) string {
		return fmt.Sprintf("PATCH /v1/zones/%s/records HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", harness.HostedZone, a.API, token, header)
	}
	const begin = `{"append":[{"name":"huge","type":"TXT","data":"`
	for _, test := range []struct {
		name, head string
		chunked    bool
		want       string
	}{
		{"a terabyte", head(a.Token, "Content-Length: 1099511627776\r\n"), false, "413"},
		{"chunks without end", head(a.Token, "Transfer-Encoding: chunked\r\n"), true, "413"},
		{"a terabyte without a right", head("x", "Content-Length: 1099511627776\r\n"), false, "401"},
		{"chunks without end or right", head("x", "Transfer-Encoding: chunked\r\n"), true, "401"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", a.API)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			go func() { // until the server closes
				piece := strings.Repeat("x", 1<<14)
				_, err := io.WriteString(conn, test.head)
				if err == nil && !test.chunked {
					_, err = io.WriteString(conn, begin)
				}
				for err == nil {
					if test.chunked {
						_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(piece), piece)
					} else {
						_, err = io.WriteString(conn, piece)
					}
				}
			}()
			status, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(status, "HTTP/1.1 "+test.want) {
				t.Errorf("answered %q (%v), want %s", status, err, test.want)
			}
		})
	}
	a.assertUntouched(t, "after all")
}

// TestEarlyDataBehindProxies: a proxy that takes early data says so in a header, and
// a change in it is refused whatever else the header says.
func TestEarlyDataBehindProxies(t *testing.T) {
	t.Parallel()
	a := newTarget(t)
	got := make(map[string]string)
	for _, value := range []string{"1", "1, 1", " 1", "0", "true"} {
		answer := raw(t, a.API, strings.Replace(a.change(a.API), "Content-Length", "Connection: close\r\nEarly-Data: "+value+"\r\nContent-Length", 1))
		status, _, _ := strings.Cut(answer, "\r\n")
		got[value] = status
	}
	// RFC 8470 §5.1: a value that is not "1" counts as if it was.
	want := map[string]string{"1": "HTTP/1.1 425 Too Early", "1, 1": "HTTP/1.1 425 Too Early", " 1": "HTTP/1.1 425 Too Early", "0": "HTTP/1.1 425 Too Early", "true": "HTTP/1.1 425 Too Early"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a.assertUntouched(t, "early data")
}
