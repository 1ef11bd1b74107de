package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

const (
	manyZones   = 50
	manyClients = 500
	manyNames   = 60 // with challenges

	// Of the zones, these have trouble: no one is at the address of a name server.
	firstFaulty, secondFaulty = "zone17.example.com", "zone41.example.com"

	// hiddenClient is one that is in a fold.
	hiddenClient = "web432"
)

// startMany starts a service with many zones and clients, of which a few have trouble.
func startMany(t *testing.T) *lookedAt {
	t.Helper()
	s := &lookedAt{api: harness.FreeAddr(t), tokens: make(map[string]string)}
	var config strings.Builder
	for i := range manyZones - 1 {
		zone := fmt.Sprintf("zone%02d.example.com", i)
		fmt.Fprintf(&config, "zone %s {\nns ns1.%[1]s 127.0.0.1\n", zone)
		if zone == firstFaulty || zone == secondFaulty {
			fmt.Fprintf(&config, "ns ns2.%s 127.0.0.3\n", zone)
		}
		config.WriteString("}\n")
	}
	config.WriteString("zone bücher.example {\nns ns1.bücher.example 127.0.0.1\n}\n")
	client := func(name, rules string) {
		s.tokens[name] = api.NewToken()
		fmt.Fprintf(&config, "client %s {\ntoken %s\n%s\n}\n", name, harness.Digest(s.tokens[name]), rules)
	}
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	client("ops", "description \"People who look after DNS\"\nwatch")
	client("all", "allow under bücher.example"+allowAll())
	client("expired", "certificates old.zone03.example.com\nexpires "+day(-3))
	client("soon", "certificates soon.zone03.example.com\nexpires "+day(5))
	for i := range manyClients - 4 {
		client(fmt.Sprintf("web%03d", i), fmt.Sprintf("description \"Web server %d, rack %d\"\ncertificates web%[1]d.zone%02[3]d.example.com\nexpires %[4]s", i, i%9, i%(manyZones-1), day(200)))
	}
	many := filepath.Join(t.TempDir(), "many.caddyfile")
	if err := os.WriteFile(many, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Caddy = harness.StartCaddy(t, harness.CaddyBinary, "pagesize.caddyfile", harness.Env{
		"DNS": harness.FreeAddr(t), "API_PORT": harness.Port(t, s.api), "STORE": filepath.Join(t.TempDir(), "records.db"), "MANY": many,
	})
	return s
}

// allowAll are the rights to all of the zones with a number.
func allowAll() (rules string) {
	for i := range manyZones - 1 {
		rules += fmt.Sprintf("\nallow under zone%02d.example.com", i)
	}
	return rules
}

// TestPageAtSize looks at the page of a service with many zones and clients, by the keyboard alone.
func TestPageAtSize(t *testing.T) {
	t.Parallel()
	harness.Debian(t, "chromium", "chromium")
	s := startMany(t)
	b := harness.StartBrowser(t)
	for i := range manyNames {
		s.change(t, "all", fmt.Sprintf("zone%02d.example.com", i%(manyZones-1)), "append", harness.Text(fmt.Sprintf("_acme-challenge.n%d", i), challengeText))
	}
	s.change(t, "web007", "zone07.example.com", "append", harness.Text("_acme-challenge.web7", challengeText))
	s.change(t, "web007", "zone08.example.com", "append", harness.Text("_acme-challenge.web8", challengeText))
	s.change(t, "expired", "zone03.example.com", "append", harness.Text("_acme-challenge.old", challengeText))

	b.Screen(1400, "light")
	b.Open(s.url("ops"))
	for deadline := time.Now().Add(20 * time.Second); harness.Evaluate[bool](b, `document.body.textContent.includes("not asked yet")`) && time.Now().Before(deadline); {
		b.Open(s.url("ops"))
	}
	for _, screen := range []struct {
		width, height int64 // the most
	}{{1400, 2500}, {360, 4500}} {
		t.Run(fmt.Sprintf("%d pixels", screen.width), func(t *testing.T) {
			b := on(t, b)
			b.Screen(screen.width, "light")
			height := harness.Evaluate[int64](b, "document.documentElement.scrollHeight")
			type cost struct{ Bytes, Milliseconds float64 }
			got := harness.Evaluate[cost](b, `(([n]) => ({Bytes: n.decodedBodySize, Milliseconds: n.responseEnd - n.requestStart}))(performance.getEntriesByType("navigation"))`)
			t.Logf("%d pixels high, %.0f bytes in %.0f ms", height, got.Bytes, got.Milliseconds)
			if height > screen.height {
				t.Errorf("the page is %d pixels high, want %d at most", height, screen.height)
			}
			checkWidth(b)
			checkContrast(b)
			if dir := os.Getenv(envPictures); dir != "" {
				b.Draw(filepath.Join(dir, fmt.Sprintf("page-size-%d.png", screen.width)))
			}
		})
	}
	b.Screen(1400, "light")
	t.Run("trouble first", func(t *testing.T) { checkTroubleFirst(on(t, b)) })
	t.Run("filter", func(t *testing.T) { checkFilter(on(t, b)) })
	t.Run("refresh", func(t *testing.T) { checkRefreshKeeps(on(t, b), s) })
	t.Run("without JavaScript", func(t *testing.T) {
		b := on(t, b)
		harness.Command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		b.Open(s.url("ops"))
		if seen := harness.Evaluate[bool](b, `filter.checkVisibility()`); seen {
			t.Error("the filter is there, and does nothing")
		}
		b.Do(chromedp.Click("details[data-fold='clients rest'] > summary"))
		if n := len(shownRows(b, "clients")); n != manyClients {
			t.Errorf("with the fold open, %d clients are seen", n)
		}
		harness.Command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	})
	if complaints := b.Complaints(); complaints != nil {
		t.Errorf("in the browser's console: %q", complaints)
	}
}

// checkTroubleFirst checks what is seen without scrolling.
func checkTroubleFirst(b *harness.Browser) {
	if got, want := harness.Evaluate[string](b, "document.title"), "2 zones have trouble – "; !strings.HasPrefix(got, want) {
		b.T.Errorf("the title is %q, want %q first", got, want)
	}
	seen := harness.Evaluate[[]string](b, `[...document.querySelectorAll("main tbody tr")].filter(
		row => row.checkVisibility() && row.getBoundingClientRect().bottom <= innerHeight).map(row => row.cells[0].innerText.trim())`)
	if diff := cmp.Diff([]string{firstFaulty, secondFaulty}, seen); diff != "" {
		b.T.Errorf("without scrolling (-want +got):\n%s", diff)
	}
	alerts := harness.Evaluate[[]string](b, `[...document.querySelectorAll(".alerts li")].map(li => li.innerText.trim())`)
	want := []string{
		"2 zones have trouble", "1 client has expired", "1 client expires within 14 days",
		"1 change was refused or failed in the last hour", "1 request was refused in the last hour",
	}
	if n := len(alerts) - 1; n < 0 || !strings.HasPrefix(alerts[n], "Healthy for ") {
		b.T.Errorf("the last of %q does not say since when the service is healthy", alerts)
	} else if diff := cmp.Diff(want, alerts[:n]); diff != "" {
		b.T.Errorf("alerts (-want +got):\n%s", diff)
	}
}

// shownRows returns the first cells of the rows in a section that are seen.
func shownRows(b *harness.Browser, section string) []string {
	b.T.Helper()
	return harness.Evaluate[[]string](b, `[...document.querySelectorAll("section[aria-labelledby=`+section+`] tbody tr")].filter(
		row => row.checkVisibility()).map(row => row.cells[0].querySelector("bdi").innerText)`)
}

// slash presses the key of that name. chromedp's own function would send the character even if the page
// takes the key.
func slash(b *harness.Browser) {
	b.T.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		harness.Command(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: "/", Code: "Slash", Text: "/"})
	}
}

// focused returns what has the focus.
func focused(b *harness.Browser) string {
	b.T.Helper()
	return harness.Evaluate[string](b, "document.activeElement.id || document.activeElement.innerText")
}

func openFolds(b *harness.Browser) []string {
	b.T.Helper()
	return harness.Evaluate[[]string](b, `[...document.querySelectorAll("main details[open]")].map(fold => fold.dataset.fold)`)
}

// checkFilter finds a client by the keyboard.
func checkFilter(b *harness.Browser) {
	if rows := shownRows(b, "clients"); len(rows) != 2 {
		b.T.Errorf("before, %q are seen", rows)
	}
	slash(b)
	b.Do(chromedp.KeyEvent(hiddenClient))
	if got := focused(b); got != "filter" {
		b.T.Fatalf("the focus is on %q", got)
	}
	if diff := cmp.Diff([]string{hiddenClient}, shownRows(b, "clients")); diff != "" {
		b.T.Errorf("clients (-want +got):\n%s", diff)
	}
	if rows := shownRows(b, "zones"); len(rows) != 0 {
		b.T.Errorf("the zones %q are seen", rows)
	}
	if got := harness.Evaluate[string](b, `document.querySelector("[role=status]").textContent`); !strings.HasPrefix(got, "1 of ") {
		b.T.Errorf("what is announced: %q", got)
	}
	typed := hiddenClient
	for _, test := range []struct{ text, zone string }{{"ZONE17.", firstFaulty}, {"bücher", "bücher.example"}, {"xn--", "bücher.example"}} {
		b.Do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, len(typed)) + test.text))
		if diff := cmp.Diff([]string{test.zone}, shownRows(b, "zones")); diff != "" {
			b.T.Errorf("zones with %s (-want +got):\n%s", test.text, diff)
		}
		typed = test.text
	}
	b.Do(chromedp.KeyEvent(kb.Escape))
	if got := harness.Evaluate[string](b, `filter.value + document.activeElement.tagName + document.querySelector("[role=status]").textContent`); got != "BODY" {
		b.T.Errorf("after Escape: %q", got)
	}
	if folds := openFolds(b); len(folds) != 0 {
		b.T.Errorf("after Escape, the folds %q are open", folds)
	}
}

// checkRefreshKeeps opens a fold by the keyboard and has the page look for what is new.
func checkRefreshKeeps(b *harness.Browser, s *lookedAt) {
	const fold = "48 zones without trouble"
	for tabs := 0; focused(b) != fold && tabs < 60; tabs++ {
		b.Do(chromedp.KeyEvent(kb.Tab))
	}
	b.Do(chromedp.KeyEvent(kb.Enter))
	top := harness.Evaluate[float64](b, `scrollTo(0, 1500); document.getElementById("challenges").getBoundingClientRect().top`)
	s.change(b.T.(*testing.T), "all", "zone05.example.com", "append", harness.Text("_acme-challenge.fresh", challengeText))
	waitRefreshed(b, "_acme-challenge.fresh.zone05.example.com")
	if diff := cmp.Diff([]string{"zones rest"}, openFolds(b)); diff != "" {
		b.T.Errorf("open folds (-want +got):\n%s", diff)
	}
	if got := focused(b); got != fold {
		b.T.Errorf("the focus is on %q", got)
	}
	if got := harness.Evaluate[float64](b, `document.getElementById("challenges").getBoundingClientRect().top`); got < top-1 || got > top+1 {
		b.T.Errorf("what was %v pixels below the top is %v", top, got)
	}

	slash(b)
	b.Do(chromedp.KeyEvent(hiddenClient))
	s.change(b.T.(*testing.T), "all", "zone05.example.com", "append", harness.Text("_acme-challenge.again", challengeText))
	waitRefreshed(b, "_acme-challenge.again.zone05.example.com")
	if diff := cmp.Diff([]string{hiddenClient}, shownRows(b, "clients")); diff != "" {
		b.T.Errorf("filtered clients after a refresh (-want +got):\n%s", diff)
	}
	if got := focused(b); got != "filter" {
		b.T.Errorf("after a refresh, the focus is on %q", got)
	}
	b.Do(chromedp.KeyEvent(kb.Escape))
	if diff := cmp.Diff([]string{"zones rest"}, openFolds(b)); diff != "" {
		b.T.Errorf("open folds after the filter (-want +got):\n%s", diff)
	}
}
