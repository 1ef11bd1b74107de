package harness

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserTimeout is how long a browser may take for all of a test.
const browserTimeout = 2 * time.Minute

// Browser is a tab of Debian's Chromium, and what it complained about.
type Browser struct {
	T   testing.TB
	Ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// StartBrowser starts a browser that ends with the test.
func StartBrowser(t testing.TB) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(Debian(t, "chromium", "chromium")),
		chromedp.NoSandbox, // root has none
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true),
	)
	ctx, cancel := context.WithTimeout(context.Background(), browserTimeout)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &Browser{T: t, Ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	Command(b, log.Enable, cdp.Empty{})
	Command(b, runtime.Enable, cdp.Empty{})
	return b
}

// hear notes what a developer would see in the console.
func (b *Browser) hear(event any) {
	var complaint string
	switch e := event.(type) {
	case *log.EventEntryAdded:
		complaint = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		complaint = fmt.Sprintf("console.%s", e.Type)
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, complaint)
}

// Complaints returns what the browser complained about since it was last asked.
func (b *Browser) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	complaints := b.complaints
	b.complaints = nil
	return complaints
}

// Do does what has to succeed.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.T.Helper()
	if err := chromedp.Do(b.Ctx, actions...); err != nil {
		b.T.Fatal(err)
	}
}

// Get returns what an action that has to succeed brings.
func Get[T any](b *Browser, action chromedp.Action[T]) T {
	b.T.Helper()
	value, err := chromedp.Run(b.Ctx, action)
	if err != nil {
		b.T.Fatal(err)
	}
	return value
}

// Command sends a command of the protocol, which has to succeed.
func Command[P, R any](b *Browser, c cdp.Command[P, R], params P) {
	b.T.Helper()
	if _, err := chromedp.Call(b.Ctx, c, params); err != nil {
		b.T.Fatal(err)
	}
}

// Open opens a page.
func (b *Browser) Open(url string) {
	b.T.Helper()
	b.Do(chromedp.Navigate(url))
}

// Screen sets the width of the window in CSS pixels, and the colours that its user likes.
func (b *Browser) Screen(width int64, scheme string) {
	b.T.Helper()
	Command(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500,
	})
	Command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Evaluate returns what an expression of JavaScript comes to.
func Evaluate[T any](b *Browser, expression string) T {
	b.T.Helper()
	return Get(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Draw writes a picture of all of the page to a file, as a PNG of at most 256 colours: it
// is text on plain grounds, and is in a repository.
func (b *Browser) Draw(file string) {
	b.T.Helper()
	full, err := png.Decode(bytes.NewReader(Get(b, chromedp.FullScreenshot(100))))
	if err != nil {
		b.T.Fatal(err)
	}
	counts := make(map[color.Color]int)
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(c, d color.Color) int { return counts[d] - counts[c] })
	picture := image.NewPaletted(bounds, colours[:min(len(colours), 256)])
	draw.Draw(picture, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, picture); err != nil {
		b.T.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		b.T.Fatal(err)
	}
}
