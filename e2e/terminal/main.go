// Command terminal draws what a command has printed as an SVG picture of a
// terminal. Lines that begin with a time, such as "0.323s", appear at that time.
//
//	caddy bestdns demo | go run ./terminal '$ make demo' > demo.svg
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// In characters and pixels.
const (
	columns    = 104
	charWidth  = 7.8
	lineHeight = 19
	margin     = 16
	titleBar   = 28
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: terminal 'first line' < output > picture.svg")
		os.Exit(2)
	}
	if err := draw(os.Stdout, os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(1)
	}
}

// line is one line of the picture.
type line struct {
	at    time.Duration
	stamp string // the time before the text, "" for a line that goes on
	text  string
}

var stamped = regexp.MustCompile(`^\s*(\d+\.\d+s) +(.*)$`)

func draw(w io.Writer, r io.Reader, command string) error {
	lines := []line{{text: command}}
	in := bufio.NewScanner(r)
	for in.Scan() {
		last := lines[len(lines)-1]
		next := line{at: last.at, text: in.Text()}
		if m := stamped.FindStringSubmatch(in.Text()); m != nil {
			at, err := time.ParseDuration(m[1])
			if err != nil {
				return err
			}
			next = line{at: at, stamp: m[1], text: m[2]}
		}
		lines = append(lines, wrap(next)...)
	}
	if err := in.Err(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	width, height := columns*charWidth+2*margin, float64(len(lines)*lineHeight+2*margin+titleBar)
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s and what it prints">
<style>
text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d7dde5; white-space: pre; }
.s { fill: #7f93a8; }
.c { fill: #9ece6a; font-weight: bold; }
@media (prefers-reduced-motion: no-preference) {
	.l { animation: appear .1s backwards; }
	@keyframes appear { from { opacity: 0; } }
}
</style>
<rect width="100%%" height="100%%" rx="8" fill="#161b22"/>
<circle cx="18" cy="16" r="5" fill="#3b4553"/><circle cx="36" cy="16" r="5" fill="#3b4553"/><circle cx="54" cy="16" r="5" fill="#3b4553"/>
`, width, height, html.EscapeString(command))
	for i, l := range lines {
		y := titleBar + margin + (i+1)*lineHeight - 6
		fmt.Fprintf(out, `<g class="l" style="animation-delay:%.3fs">`, l.at.Seconds())
		switch {
		case i == 0:
			fmt.Fprintf(out, `<text class="c" x="%d" y="%d">%s</text>`, margin, y, html.EscapeString(l.text))
		default:
			fmt.Fprintf(out, `<text class="s" x="%d" y="%d">%s</text>`, margin, y, l.stamp)
			fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`, margin+8*charWidth, y, html.EscapeString(l.text))
		}
		fmt.Fprintln(out, "</g>")
	}
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

// wrap breaks a line between words where it is too long.
func wrap(l line) []line {
	const room = columns - 8
	var lines []line
	for len(l.text) > room {
		cut := strings.LastIndexByte(l.text[:room], ' ')
		if cut <= 0 {
			cut = room
		}
		lines = append(lines, line{at: l.at, stamp: l.stamp, text: l.text[:cut]})
		l.stamp, l.text = "", "  "+strings.TrimLeft(l.text[cut:], " ")
	}
	return append(lines, l)
}
