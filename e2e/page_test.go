package e2e

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// envPictures is the folder into which the test puts pictures of the page; two of them
// are in docs/.
const envPictures = "BESTDNS_PICTURES"

// mischief is a description that would run, hide and turn around if it were let.
const mischief = "<script>document.title='x'</script><img src=x onerror=alert(1)> \u202egnp.exe\u202c \x07 end"

// lookedAt is a service with something to see on its page.
type lookedAt struct {
	*harness.Caddy
	api    string // address
	tokens map[string]string
}

// startLookedAt starts the service, and beside it a DNS server that has one of its zones,
// and another in an older version.
func startLookedAt(t *testing.T) *lookedAt {
	t.Helper()
	s := &lookedAt{api: harness.FreeAddr(t), tokens: make(map[string]string)}
	ours := harness.FreeAddr(t)
	theirs := net.JoinHostPort("127.0.0.2", harness.Port(t, ours))
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	env := harness.Env{
		"DNS": ours, "API_PORT": harness.Port(t, s.api), "STORE": filepath.Join(t.TempDir(), "records.db"),
		"PARTNER": theirs, "PARTNER_KEY": startHolder(t, theirs),
		"SOON": day(8), "LATER": day(200), "OVER": day(-3),
	}
	for _, client := range []string{"ops", "web1", "intranet", "partner"} {
		s.tokens[client] = api.NewToken()
		env[strings.ToUpper(client)+"_DIGEST"] = harness.Digest(s.tokens[client])
	}
	s.Caddy = harness.StartCaddy(t, harness.CaddyBinary, "page.caddyfile", env)
	return s
}

// startMischief starts a service whose client has the description mischief.
func startMischief(t *testing.T) *lookedAt {
	t.Helper()
	s := &lookedAt{api: harness.FreeAddr(t), tokens: map[string]string{"nameless": api.NewToken()}}
	s.Caddy = harness.StartCaddy(t, harness.CaddyBinary, "mischief.caddyfile", harness.Env{
		"DNS": harness.FreeAddr(t), "API_PORT": harness.Port(t, s.api), "STORE": filepath.Join(t.TempDir(), "records.db"),
		"MISCHIEF": `"` + mischief + `"`, "NAMELESS_DIGEST": harness.Digest(s.tokens["nameless"]),
	})
	return s
}

// startHolder runs a DNS server that has the zone example.org, with a challenge in it,
// and an old version of internal.example.com. It returns the key for transfers.
func startHolder(t *testing.T, addr string) (key string) {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	key = base64.StdEncoding.EncodeToString(secret)
	records := func(lines ...string) (rrs []dns.RR) {
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Fatal(err)
			}
			rrs = append(rrs, rr)
		}
		return rrs
	}
	soa := "example.org. 300 IN SOA ns1.example.org. hostmaster.example.org. 2026112501 3600 600 1209600 60"
	zone := records(soa,
		"example.org. 300 IN NS ns1.example.org.", "ns1.example.org. 300 IN A 127.0.0.2",
		"_acme-challenge.www.example.org. 60 IN TXT "+challengeText, soa)
	old := records("internal.example.com. 5 IN SOA ns1.internal.example.com. hostmaster.internal.example.com. 1 3600 600 1209600 5")
	handle := func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		answer.Authoritative = true
		switch name, qtype := q.Question[0].Name, q.Question[0].Qtype; {
		case name == "example.org." && qtype == dns.TypeAXFR && q.IsTsig() != nil && w.TsigStatus() == nil:
			answer.Answer = zone
		case name == "example.org." && qtype == dns.TypeSOA:
			answer.Answer = zone[:1]
		case name == "internal.example.com." && qtype == dns.TypeSOA:
			answer.Answer = old
		default:
			answer.Rcode = dns.RcodeRefused
		}
		if q.IsTsig() != nil && w.TsigStatus() == nil {
			answer.SetTsig("partner.", dns.HmacSHA256, 300, time.Now().Unix())
		}
		w.WriteMsg(answer)
	}
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		server := &dns.Server{
			Addr: addr, Net: network, Handler: dns.HandlerFunc(handle),
			TsigSecret: map[string]string{"partner.": key}, NotifyStartedFunc: func() { close(started) },
		}
		failed := make(chan error, 1)
		go func() { failed <- server.ListenAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Shutdown() })
	}
	return key
}

// challengeText has the form of the answer to a DNS-01 challenge.
const challengeText = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"

// change sends a change as a client, whatever the answer.
func (s *lookedAt) change(t *testing.T, client, zone, op string, records ...api.Record) {
	t.Helper()
	body, err := json.Marshal(map[string][]api.Record{op: records})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPatch, "http://"+s.api+"/dns/v1/zones/"+zone+"/records", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens[client])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// url is that of the page, with a client's token in it.
func (s *lookedAt) url(client string) string {
	return "http://" + client + ":" + s.tokens[client] + "@" + s.api + "/dns/"
}

// TestPage looks at the page of a real service with a real browser.
func TestPage(t *testing.T) {
	t.Parallel()
	harness.Debian(t, "chromium", "chromium")
	s, odd := startLookedAt(t), startMischief(t)
	b := harness.StartBrowser(t) // after the services, which at their end would wait for connections
	s.change(t, "intranet", "internal.example.com", "append", harness.Text("_acme-challenge.wiki", challengeText))
	s.change(t, "intranet", "internal.example.com", "append", harness.Text("_acme-challenge.git", challengeText))
	s.change(t, "intranet", "internal.example.com", "delete", harness.Text("_acme-challenge.git", challengeText))
	s.change(t, "web1", "shop.example.com", "append", harness.Text("_acme-challenge", challengeText))
	s.change(t, "web1", "acme.example.com", "set", harness.Text("www", "<b>x</b>"))
	odd.change(t, "nameless", "odd.example.net", "append", harness.Text("<i>\u202e", "x"))
	odd.change(t, "nameless", "odd.example.net", "append", harness.Text("<i>", "x"))
	odd.change(t, "nameless", "odd.example.net", "append", harness.Text(strings.Repeat("long", 15), "x"))

	b.Screen(1100, "light")
	b.Open(s.url("ops"))
	for deadline := time.Now().Add(20 * time.Second); harness.Evaluate[bool](b, `document.body.textContent.includes("not asked yet")`) && time.Now().Before(deadline); {
		b.Open(s.url("ops")) // a machine with much to do
	}
	t.Run("what is there", func(t *testing.T) { checkContent(on(t, b)) })
	for _, screen := range []struct {
		name, scheme string
		width        int64
	}{
		{"page", "light", 1100},
		{"page-dark", "dark", 1100},
		{"page-phone", "light", 320},
		{"page-phone-dark", "dark", 320},
	} {
		t.Run(screen.name, func(t *testing.T) {
			b := on(t, b)
			b.Screen(screen.width, screen.scheme)
			checkWidth(b)
			checkContrast(b)
			if dir := os.Getenv(envPictures); dir != "" {
				b.Draw(filepath.Join(dir, screen.name+".png"))
			}
		})
	}
	b.Screen(1100, "light")
	t.Run("structure", func(t *testing.T) { checkStructure(on(t, b)) })
	t.Run("keyboard", func(t *testing.T) { checkKeyboard(on(t, b)) })
	t.Run("refresh", func(t *testing.T) { checkRefresh(on(t, b), s) })
	t.Run("mischief", func(t *testing.T) {
		b := on(t, b)
		b.Open(odd.url("nameless"))
		checkMischief(b)
		b.Screen(320, "light")
		checkWidth(b)
	})
	t.Run("without JavaScript", func(t *testing.T) {
		b := on(t, b)
		harness.Command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		b.Open(s.url("web1"))
		checkOther(b)
		harness.Command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	})
	if complaints := b.Complaints(); complaints != nil {
		t.Errorf("in the browser's console: %q", complaints)
	}
}

// on returns the browser for a part of its test.
func on(t *testing.T, b *harness.Browser) *harness.Browser {
	return &harness.Browser{T: t, Ctx: b.Ctx}
}

// rows returns the text of the cells of a table.
func rows(b *harness.Browser, section string) [][]string {
	b.T.Helper()
	return harness.Evaluate[[][]string](b, `[...document.querySelectorAll("section[aria-labelledby=`+section+`] tbody tr")].map(
		tr => [...tr.cells].map(cell => cell.innerText.trim().replaceAll(/\s+/g, " ")))`)
}

func checkContent(b *harness.Browser) {
	var zones [][]string
	for _, cells := range rows(b, "zones") {
		state, _, _ := strings.Cut(cells[3], " asked")
		zones = append(zones, []string{cells[0], cells[1], state})
	}
	want := [][]string{
		{"internal.example.com", "built in", "✗ differ"},
		{"acme.example.com", "built in CNAME target", "✓ agree"},
		{"example.org", "with the provider rfc2136", "✓ agree"},
	}
	if diff := cmp.Diff(want, zones); diff != "" {
		b.T.Errorf("zones (-want +got):\n%s", diff)
	}
	var names []string
	for _, cells := range rows(b, "challenges") {
		_, writer, _ := strings.Cut(cells[2], "UTC ")
		names = append(names, cells[0]+" "+writer)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"_acme-challenge.wiki.internal.example.com by intranet", "_acme-challenge.www.example.org ", "shop.example.com.acme.example.com by web1"}, names); diff != "" {
		b.T.Errorf("challenges (-want +got):\n%s", diff)
	}
	var clients []string
	for _, cells := range rows(b, "clients") {
		clients = append(clients, cells[0]+": "+cells[1])
	}
	slices.Sort(clients)
	wantClients := []string{
		"intranet Everything behind the VPN: certificates under internal.example.com",
		"ops (you) People who look after DNS: watch",
		"partner: certificates www.example.org",
		"web1 The shop's web server, rack 4: certificates shop.example.com",
	}
	if diff := cmp.Diff(wantClients, clients); diff != "" {
		b.T.Errorf("clients (-want +got):\n%s", diff)
	}
}

// checkMischief checks that what would run, hide and turn around is shown as text instead.
func checkMischief(b *harness.Browser) {
	clients := rows(b, "clients")
	if want := "<script>document.title='x'</script><img src=x onerror=alert(1)> ⟨U+202E⟩gnp.exe⟨U+202C⟩ ⟨U+0007⟩ end"; len(clients) != 1 || !strings.HasSuffix(clients[0][0], want) {
		b.T.Errorf("clients %q, want the description %q", clients, want)
	}
	var records []string
	for _, cells := range rows(b, "changes") {
		records = append(records, cells[2])
	}
	if len(records) != 3 || !strings.Contains(records[1], "append in odd.example.net <i>.odd.example.net TXT") || !strings.Contains(records[2], "<i>⟨U+202E⟩ TXT") {
		b.T.Errorf("changes %q", records)
	}
	if title := harness.Evaluate[string](b, "document.title"); !strings.HasSuffix(title, " – BestDNS devel") && !strings.Contains(title, " – BestDNS devel-") {
		b.T.Errorf("the title is %q", title)
	}
}

// checkWidth checks that no one has to scroll sideways.
func checkWidth(b *harness.Browser) {
	type widths struct{ Page, Window int }
	if w := harness.Evaluate[widths](b, `({Page: document.documentElement.scrollWidth, Window: innerWidth})`); w.Page > w.Window {
		b.T.Errorf("the page is %d pixels wide in a window of %d", w.Page, w.Window)
	}
}

//go:embed testdata/contrast.js
var contrastScript string

// leastContrast is that of WCAG 2.2, 1.4.3, level AA.
const leastContrast = 4.5

// checkContrast compares the colour of each text with the one behind it.
func checkContrast(b *harness.Browser) {
	type reading struct {
		Text, Colour, Ground string
		Contrast             float64
	}
	readings := harness.Evaluate[[]reading](b, contrastScript)
	if len(readings) < 50 {
		b.T.Errorf("only %d texts were measured", len(readings))
	}
	for _, r := range readings {
		if r.Contrast < leastContrast {
			b.T.Errorf("%q: %s on %s is a contrast of %.2f", r.Text, r.Colour, r.Ground, r.Contrast)
		}
	}
}

// checkStructure checks what those hear who do not see the page.
func checkStructure(b *harness.Browser) {
	for _, rule := range []struct{ name, broken string }{
		{"one h1", `document.querySelectorAll("h1").length !== 1`},
		{"one of each landmark", `["header", "nav", "main", "footer"].some(name => document.querySelectorAll(name).length !== 1)`},
		{"sections have names", `[...document.querySelectorAll("section")].some(s => !document.getElementById(s.getAttribute("aria-labelledby")))`},
		{"tables have captions", `[...document.querySelectorAll("table")].some(t => !t.caption?.textContent.trim())`},
		{"headers have scopes", `[...document.querySelectorAll("th")].some(th => th.scope !== (th.closest("thead") ? "col" : "row"))`},
		{"cells say their heading on a phone", `[...document.querySelectorAll("tbody td")].some(td => td.dataset.label !== td.closest("table").tHead.rows[0].cells[td.cellIndex].textContent)`},
		{"a language", `document.documentElement.lang !== "en"`},
		{"ids are there once", `new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size !== document.querySelectorAll("[id]").length`},
		{"links lead somewhere", `[...document.querySelectorAll("nav a")].some(a => !document.getElementById(a.hash.slice(1)))`},
		{"times can be read by programs", `[...document.querySelectorAll("time")].some(t => isNaN(new Date(t.dateTime)) || !t.textContent.endsWith("UTC"))`},
		{"signs are words too", `[...document.querySelectorAll(".sign")].some(s => !/[a-z]/.test(s.textContent) || !s.querySelector("[aria-hidden]"))`},
	} {
		if harness.Evaluate[bool](b, rule.broken) {
			b.T.Errorf("not so: %s", rule.name)
		}
	}
	tables := harness.Evaluate[int](b, `document.querySelectorAll("table").length`)
	if tables != 4 {
		b.T.Errorf("%d tables, want 4", tables)
	}
}

// checkKeyboard walks through the page by the key Tab.
func checkKeyboard(b *harness.Browser) {
	var order []string
	for range 7 {
		b.Do(chromedp.KeyEvent(kb.Tab))
		order = append(order, harness.Evaluate[string](b, "document.activeElement.id || document.activeElement.textContent"))
		if width := harness.Evaluate[string](b, `getComputedStyle(document.activeElement).outlineStyle + " " + getComputedStyle(document.activeElement).outlineWidth`); width != "solid 3px" {
			b.T.Errorf("the focus is shown by an outline %s", width)
		}
	}
	if diff := cmp.Diff([]string{"Zones", "Challenges", "Changes", "Refused", "Clients", "filter", "pause"}, order); diff != "" {
		b.T.Errorf("(-want +got):\n%s", diff)
	}
	b.Do(chromedp.KeyEvent(" "))
	if pressed := harness.Evaluate[string](b, `document.activeElement.getAttribute("aria-pressed")`); pressed != "true" {
		b.T.Errorf("Pause pressed: %s", pressed)
	}
	b.Do(chromedp.KeyEvent(" "))
}

// checkRefresh makes a change and has the page look for what is new.
func checkRefresh(b *harness.Browser, s *lookedAt) {
	s.change(b.T.(*testing.T), "intranet", "internal.example.com", "append", harness.Text("_acme-challenge.new", challengeText))
	waitRefreshed(b, "_acme-challenge.new.internal.example.com")
	if status := harness.Evaluate[string](b, `document.getElementById("status").textContent`); status != "" {
		b.T.Errorf("the status is %q", status)
	}
}

// waitRefreshed has the page look for what is new until it has a text.
func waitRefreshed(b *harness.Browser, text string) {
	b.T.Helper()
	appeared := harness.Evaluate[bool](b, `new Promise(resolve => {
		const end = Date.now() + 10_000;
		const look = () => {
			const there = document.querySelector("main").textContent.includes("`+text+`");
			if (there || Date.now() > end) return resolve(there);
			document.dispatchEvent(new Event("visibilitychange")); // as when the tab is looked at again
			setTimeout(look, 50);
		};
		look();
	})`)
	if !appeared {
		b.T.Errorf("%s does not appear", text)
	}
}

// checkOther checks what another client sees: less.
func checkOther(b *harness.Browser) {
	html := strings.ReplaceAll(harness.Get(b, chromedp.OuterHTML("html")), "<wbr>", "")
	for _, want := range []string{"acme.example.com", "shop.example.com.acme.example.com", "The shop's web server", "Reload it"} {
		if !strings.Contains(html, want) {
			b.T.Errorf("%q is not there", want)
		}
	}
	for _, secret := range []string{"internal", "example.org", "ops", "intranet", "partner"} {
		if strings.Contains(html, secret) {
			b.T.Errorf("%q is there", secret)
		}
	}
}
