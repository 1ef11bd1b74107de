package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "web1.example.org", "web1.example.org"},
		{"markup is for the template", `<b a="1">&`, `<b a="1">&`},
		{"letters of others", "Bücher 書店 ספר", "Bücher 書店 ספר"},
		{"nothing", "", ""},
		{"control characters", "a\x00\x1b[31m\n\tb\x7f\u0085", "a⟨U+0000⟩⟨U+001B⟩[31m⟨U+000A⟩⟨U+0009⟩b⟨U+007F⟩⟨U+0085⟩"},
		{"direction", "\u202egnp.exe\u202c\u2066\u200f", "⟨U+202E⟩gnp.exe⟨U+202C⟩⟨U+2066⟩⟨U+200F⟩"},
		{"of no width", "a\u200bb\ufeff\u2060\u00ad", "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2060⟩⟨U+00AD⟩"},
		{"blanks that are none", "a\u00a0\u3000\u2028\u2800\u3164", "a⟨U+00A0⟩⟨U+3000⟩⟨U+2028⟩⟨U+2800⟩⟨U+3164⟩"},
		{"selectors", "a\ufe0f", "a⟨U+FE0F⟩"},
		{"tags", "\U000e0061", "⟨U+E0061⟩"},
		{"private", "\ue000", "⟨U+E000⟩"},
		{"no UTF-8", "a\xff\xe2\x80", "a⟨FF⟩⟨E2⟩⟨80⟩"},
		{"the replacement itself", "\ufffd", "\ufffd"},
		{"marks", "e\u0301", "e\u0301"},
		{"too many marks", "e\u0301\u0301\u0301\u0301\u0301", "e\u0301\u0301\u0301⟨U+0301⟩⟨U+0301⟩"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Text(test.in).String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if got := strings.Join(Text(test.in).Pieces(), ""); got != test.want {
				t.Errorf("pieces %s, want %s", got, test.want)
			}
		})
	}
}

func TestTextIsBounded(t *testing.T) {
	long := Text(strings.Repeat("\u202e", 1_000_000))
	for name, test := range map[string]struct {
		got  string
		most int
	}{
		"name":   {long.String(), 310},
		"pieces": {strings.Join(long.Pieces(), ""), 310},
		"reason": {long.Long(), 2010},
	} {
		if len(test.got) > test.most || !strings.HasPrefix(test.got, "⟨U+202E⟩") || !strings.HasSuffix(test.got, "…") {
			t.Errorf("%s of %d bytes: %.40q", name, len(test.got), test.got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202e\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range Text(s).String() {
			if c != ' ' && (unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c)) {
				t.Fatalf("%q: %U is in it", s, c)
			}
		}
	})
}

func TestMoment(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, test := range []struct {
		ahead time.Duration
		want  string
	}{
		{0, "now"},
		{400 * time.Millisecond, "now"},
		{-time.Second, "1 second ago"},
		{-119 * time.Second, "119 seconds ago"},
		{-2 * time.Minute, "2 minutes ago"},
		{time.Hour, "in 60 minutes"},
		{day - time.Second, "in 24 hours"},
		{14 * day, "in 14 days"},
		{-90 * day, "3 months ago"},
		{800 * day, "in 2 years"},
	} {
		m := View{Now: now}.At(now.Add(test.ahead))
		if got := m.Relative(); got != test.want {
			t.Errorf("%s: %s, want %s", test.ahead, got, test.want)
		}
	}
	m := View{Now: now}.At(now.In(time.FixedZone("", 7200)))
	if got, want := m.Machine()+" "+m.Absolute(), "2027-03-01T12:00:00Z 2027-03-01 12:00:00 UTC"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNotice(t *testing.T) {
	const soon = 14 * 24 * time.Hour
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name    string
		expires time.Time
		want    string
	}{
		{"no end", time.Time{}, ""},
		{"far", now.Add(soon + time.Second), ""},
		{"soon", now.Add(soon), "expires soon"},
		{"last moment", now.Add(time.Nanosecond), "expires soon"},
		{"over", now, "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if sign := (View{Now: now, ExpiryNotice: soon}).Notice(Client{Expires: test.expires}); sign != nil {
				got = sign.Text
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// everything has each part of the page, and in each text what a browser would take for
// markup.
func everything() View {
	const evil = `"'><script>alert(1)</script>` + "\u202e"
	help := CommandOf(`"'><script>alert(1)</script>`, "caddy")
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	client := Client{Name: evil, Description: evil, Visitor: true, LastUsed: now, Expires: now, Rights: []Text{evil}, Help: help}
	many := Client{Name: "many", Rights: []Text{"1", "2", evil}, MoreRights: 4}
	change := Change{Time: now, Client: evil, Address: evil, Zone: evil, Op: evil, Records: []Text{evil}, Outcome: "refused", Reason: evil, RequestID: evil, Help: help}
	return View{
		Now: now, Visitor: client, MoreZones: 1, MoreChallenges: 2, MoreClients: 3, Host: evil, Version: evil, Unhealthy: evil,
		Zones: []Zone{{Name: evil, Provider: evil, CNAMETarget: true, State: Differ, Asked: now, Help: help, Servers: []Server{
			{Name: evil, Address: evil, Fault: evil}, {Name: evil, Serial: 7, Lags: true}, {Address: evil, Serial: 7},
		}}, {Primary: evil}, {State: Agree, Servers: []Server{{Name: evil}}}},
		Challenges: []Challenge{{Name: evil, Zone: evil, Expires: now, Written: now, Writer: evil}, {Another: true}},
		Unread:     []Text{evil},
		Changes:    []Change{change, {Time: now, Outcome: "changed"}},
		Denials:    []Denial{{Time: now, Client: evil, Address: evil, Protocol: evil, Reason: evil, RequestID: evil}},
		Clients:    []Client{client, many},
	}
}

// folded is everything, so often that it is in folds.
func folded() View {
	v := everything()
	for range 4 {
		v.Zones = append(v.Zones, v.Zones...)
		v.Challenges = append(v.Challenges, v.Challenges...)
		v.Changes = append(v.Changes, v.Changes...)
		v.Denials = append(v.Denials, v.Denials...)
		v.Clients = append(v.Clients, v.Clients...)
	}
	return v
}

// TestRenderEscapes counts how often a text of others appears on the page, and checks that
// it is never markup.
func TestRenderEscapes(t *testing.T) {
	html := render(t, everything())
	if n := strings.Count(html, "<script"); n != 1 {
		t.Errorf("%d scripts, want the page's own", n)
	}
	if n := strings.Count(html, "&lt;script&gt;alert(1)&lt;/script&gt;⟨U&#43;202E⟩"); n != 37 {
		t.Errorf("the text is there %d times, want 37", n)
	}
	if strings.Contains(html, "\u202e") {
		t.Error("a character that turns the direction of text is there")
	}
	for _, want := range []string{"And 1 more", "And 2 more", "And 3 more"} {
		if !strings.Contains(html, want) {
			t.Errorf("%q is not there", want)
		}
	}
}

// TestRenderFolds checks that each fold has a key of its own, and no id is there twice.
func TestRenderFolds(t *testing.T) {
	html := render(t, folded())
	for _, pattern := range []string{` id="([^"]*)"`, `class="part" data-fold="([^"]*)"`} {
		seen := make(map[string]bool)
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(html, -1) {
			if seen[match[1]] {
				t.Errorf("%s is there twice", match[0])
			}
			seen[match[1]] = true
		}
		if len(seen) < 7 {
			t.Errorf("only %d of %s", len(seen), pattern)
		}
	}
	if n := strings.Count(html, `<details class="part"`); n != 8 {
		t.Errorf("%d folds, want 8", n)
	}
	if !strings.Contains(html, `<details data-fold="rights of many"><summary>7 rights</summary>`) || !strings.Contains(html, "and 4 more</li>") {
		t.Error("the rights of a client with many are not in a fold")
	}
}

// TestRenderNothing checks that a view with nothing in it is a page.
func TestRenderNothing(t *testing.T) {
	html := render(t, View{})
	for _, want := range []string{"only what is its own", "This client has a right in no zone.", "None.", "None since the service started.", "</html>"} {
		if !strings.Contains(html, want) {
			t.Errorf("%q is not there", want)
		}
	}
}

// TestRenderWatch checks that the page says whose view it is.
func TestRenderWatch(t *testing.T) {
	html := render(t, View{Watches: true})
	if !strings.Contains(html, "the whole service, by its right <code>watch</code>") || strings.Contains(html, "only what is its own") {
		t.Error("the page does not say that the visitor sees the whole service")
	}
}

// TestPolicy checks that the hashes in the policy are those of what is in the page,
// and that nothing else in it needs leave.
func TestPolicy(t *testing.T) {
	html := render(t, everything())
	for directive, element := range map[string]string{"style-src": "style", "script-src": "script"} {
		parts := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(html, -1)
		if len(parts) != 1 {
			t.Fatalf("%d elements %s, want 1", len(parts), element)
		}
		sum := sha256.Sum256([]byte(parts[0][1]))
		if want := directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"; !strings.Contains(Policy, want) {
			t.Errorf("%s is not in the policy %s", want, Policy)
		}
	}
	for _, forbidden := range []string{" style=", " src=", " onclick=", "http-equiv", "<link", "<form"} {
		if strings.Contains(html, forbidden) {
			t.Errorf("%s is in the page", forbidden)
		}
	}
}

func TestSetHeaders(t *testing.T) {
	got := make(http.Header)
	SetHeaders(got)
	want := http.Header{
		"Content-Security-Policy":      {Policy},
		"X-Content-Type-Options":       {"nosniff"},
		"Referrer-Policy":              {"no-referrer"},
		"Cache-Control":                {"no-store"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	hash := regexp.MustCompile(`sha256-[A-Za-z0-9+/]{43}=`)
	if diff := cmp.Diff("default-src 'none'; style-src 'HASH'; script-src 'HASH'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		hash.ReplaceAllString(Policy, "HASH")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func render(t *testing.T, v View) string {
	t.Helper()
	html, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(html)
}
