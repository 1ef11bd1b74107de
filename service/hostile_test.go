package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/libdns/libdns"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/caddy-dns/bestdns/internal/text"
)

// evil is what no log, page or terminal should be given: C1, DEL, bidi, invisible
// characters, an escape.
const evil = "e\u009b31m\u0085\x7f\u202e\u2066\u3164\ufe0f\x1b[2J"

// TestHostileTexts has a client write what would command a terminal, or make one text look
// like another, wherever it can write anything.
func TestHostileTexts(t *testing.T) {
	s := startStandard(t)
	quoted, _ := json.Marshal(evil)
	text := string(quoted)
	for name, body := range map[string]string{
		"name":                  `{"append":[{"name":` + text + `,"type":"TXT","data":"x"}]}`,
		"type":                  `{"append":[{"name":"x","type":` + text + `,"data":"x"}]}`,
		"data":                  `{"append":[{"name":"x","type":"CNAME","data":` + text + `}]}`,
		"name of a delete":      `{"delete":[{"name":` + text + `}]}`,
		"type of a delete":      `{"delete":[{"name":"x","type":` + text + `}]}`,
		"data without type":     `{"delete":[{"name":"x","data":` + text + `}]}`,
		"key":                   `{"append":[{` + text + `:1}]}`,
		"value of another type": `{"append":` + text + `}`,
		"no JSON":               evil,
	} {
		checkShown(t, name, s.patch(t, "ops", "example.test", body).problem.Detail)
	}
	path := url.PathEscape(evil)
	checkShown(t, "zone of a change", s.patch(t, "ops", evil+".test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`).problem.Detail)
	checkShown(t, "zone of a change that is not read", s.patch(t, "ops", evil+".test", `{`).problem.Detail)
	for _, call := range []string{
		"GET /v1/zones/" + path + "/records",
		"PUT /v1/zones/" + path + "/records",
		"GET /v1/zones/example.test/records?" + url.QueryEscape(evil) + "=1",
		"GET /v1/zones/example.test/records?name=" + url.QueryEscape(evil),
		"GET /v1/zones/example.test/records?type=" + url.QueryEscape(evil),
		"GET /v1/zones/example.test/records?name=%" + evil[1:3],
	} {
		method, path, _ := strings.Cut(call, " ")
		a := s.call(t, "ops", method, path, "")
		if a.problem.Detail == "" && a.status != http.StatusOK {
			t.Errorf("%s: %d %s", call, a.status, a.body)
		}
		checkShown(t, call, a.problem.Detail)
	}
	checkShown(t, "page", s.call(t, "ops", http.MethodGet, "/", "").body)
	checkShown(t, "log", s.log(t))
}

// TestLongTexts has a client decide how long a line of the log, an answer and the page get.
func TestLongTexts(t *testing.T) {
	s := startStandard(t)
	long := strings.Repeat("1", 1_000_000)
	for name, body := range map[string]string{
		"TTL":               `{"append":[{"name":"x","type":"TXT","ttl":` + long + `,"data":"x"}]}`,
		"key":               `{"` + long + `":[]}`,
		"key of a record":   `{"append":[{"` + long + `":"x"}]}`,
		"name":              `{"append":[{"name":"` + long + `","type":"TXT","data":"x"}]}`,
		"name without type": `{"append":[{"name":"` + long + `","data":"x"}]}`,
		"type":              `{"append":[{"name":"x","type":"` + long + `","data":"x"}]}`,
		"data":              `{"append":[{"name":"x","type":"A","data":"` + long + `"}]}`,
		"generic data":      `{"append":[{"name":"x","type":"TYPE65280","data":"\\# ` + long + ` 00"}]}`,
		"names":             `{"append":[` + strings.TrimSuffix(strings.Repeat(`{"name":"`+strings.Repeat("\\u202e", 2000)+`","type":"TXT","data":"x"},`, 60), ",") + `]}`,
		"many rights":       `{"append":[{"name":"nowhere.example.net.","type":"TXT","data":"x"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := s.patch(t, "ops", "example.test", body)
			if a.status < 400 || len(a.body) > 3000 {
				t.Errorf("status %d, %d bytes", a.status, len(a.body))
			}
		})
	}
	path := strings.Repeat("%01", 8000)
	for _, call := range []string{"PUT /v1/zones/" + path + "/records", "GET /v1/zones/" + path + "/records", "GET /v1/zones/example.test/records?name=" + path + "a", "GET /v1/zones/example.test/records?" + path + "=1"} {
		method, path, _ := strings.Cut(call, " ")
		if a := s.call(t, "ops", method, path, ""); a.status < 400 || len(a.body) > 3000 {
			t.Errorf("%.80s: status %d, %d bytes", call, a.status, len(a.body))
		}
	}
	for line := range strings.Lines(s.log(t)) {
		if len(line) > 30_000 { // 20 names of a change, each of 1,200 bytes, and a reason
			t.Errorf("a line of %d bytes is in the log: %.200s", len(line), line)
		}
	}
	if page := s.call(t, "ops", http.MethodGet, "/", "").body; len(page) > 200_000 {
		t.Errorf("a page of %d bytes", len(page))
	}
}

// TestHostileProvider has a DNS provider say what would command a terminal.
func TestHostileProvider(t *testing.T) {
	memory.reset(libdns.RR{Name: evil, Type: evil, Data: evil, TTL: time.Minute})
	s := newService(t)
	s.token["root"] = api.NewToken()
	s.load(t, s.standard()+"\nzone provider.test {\nprovider test_memory\n}\nclient root {\ntoken "+s.digest("root")+"\nallow under provider.test\n}\n")
	memory.fail = errors.New(strings.Repeat(evil+"\n", 10_000))
	t.Cleanup(func() { memory.reset() })
	checkShown(t, "change", s.patch(t, "root", "provider.test", `{"append":[{"name":"x","type":"TXT","data":"x"}]}`).problem.Detail)
	checkShown(t, "reading", s.call(t, "root", http.MethodGet, "/v1/zones/provider.test/records", "").problem.Detail)
	log := s.log(t)
	checkShown(t, "log", log)
	if lines := s.logged(t, "request failed", "cause"); len(lines) == 0 || !strings.Contains(lines[0][0], "31m") || len(lines[0][0]) > text.MaxCause+10 {
		t.Errorf("the log has of the cause: %.300q", lines)
	}
}

func TestClientAddressIsShown(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	vars := map[string]any{caddyhttp.ClientIPVarKey: "fe80::1%" + strings.Repeat(evil, 100)}
	address := clientAddress(r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)))
	checkShown(t, "address", address)
	if len(address) > text.MaxID+10 || !strings.HasPrefix(address, "fe80::1%e") {
		t.Errorf("%d bytes: %s", len(address), address)
	}
}

func checkShown(t *testing.T, what, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%s: not UTF-8: %.300q", what, s)
	}
	isHidden := func(c rune) bool {
		return c != '\n' && c != '\t' && !unicode.IsPrint(c) || c == 0x3164 || unicode.Is(unicode.Variation_Selector, c)
	}
	if i := strings.IndexFunc(s, isHidden); i >= 0 {
		t.Errorf("%s: a character that must not be there is in %s", what, fmt.Sprintf("%+.200q", s[max(0, i-80):]))
	}
}
