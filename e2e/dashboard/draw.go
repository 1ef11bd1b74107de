package dashboard

import (
	"context"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// Sizes in pixels. A panel's rectangle is GridPos times the first two.
const (
	column  = 58
	row     = 30
	gap     = 4
	left    = 58 // of a plot, for what stands at its axis
	top     = 34
	line    = 15 // of text
	bottom  = 22
	columns = 24
)

var (
	palette = []string{"#3b7dd8", "#e0823d", "#3f9c5a", "#c8494f", "#8a63c4", "#8b6f5c", "#d06fae", "#7d8590", "#b6a12c", "#3aa6b5"}
	named   = map[string]string{"green": "#3f9c5a", "red": "#c8494f", "orange": "#e0823d", "blue": "#3b7dd8"}
)

// Span is the time that a picture is of.
type Span struct {
	From, To time.Time
	Step     time.Duration
	// Rate is over how long rates are taken.
	Rate time.Duration
}

// Draw asks Prometheus for what the dashboard shows and draws it. It returns the
// titles of the panels for which there was nothing.
func Draw(ctx context.Context, out io.Writer, d *Dashboard, from Prometheus, span Span) (empty []string, err error) {
	height := 0
	for _, p := range d.Panels {
		height = max(height, (p.GridPos.Y+p.GridPos.H)*row)
	}
	var svg canvas
	for _, p := range d.Panels {
		something, err := svg.panel(ctx, p, from, span)
		if err != nil {
			return nil, fmt.Errorf("panel %q: %w", p.Title, err)
		}
		if !something {
			empty = append(empty, p.Title)
		}
	}
	_, err = fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11" fill="#24292f">
<rect width="100%%" height="100%%" fill="#eef1f4"/>
%[3]s</svg>
`, columns*column, height, svg.String())
	return empty, err
}

// canvas is an SVG in the making.
type canvas struct{ strings.Builder }

func (c *canvas) text(x, y float64, anchor, style, text string) {
	fmt.Fprintf(c, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" style=\"%s\">%s</text>\n", x, y, anchor, style, html.EscapeString(text))
}

func (c *canvas) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(c, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" fill=\"%s\"/>\n", x, y, w, h, fill)
}

// panel draws a panel and reports whether there was anything to draw.
func (c *canvas) panel(ctx context.Context, p Panel, from Prometheus, span Span) (bool, error) {
	x, y := float64(p.GridPos.X*column+gap), float64(p.GridPos.Y*row+gap)
	w, h := float64(p.GridPos.W*column-2*gap), float64(p.GridPos.H*row-2*gap)
	c.rect(x, y, w, h, "#ffffff")
	c.text(x+10, y+20, "start", "font-weight:bold;font-size:12px", p.Title)
	switch p.Type {
	case "stat", "table":
		series, err := from.At(ctx, p.Targets[0].PromQL(span.Rate), span.To)
		if err != nil || len(series) == 0 {
			return false, err
		}
		if p.Type == "stat" {
			c.stat(p, series[0].Last(), x, y, w, h)
		} else {
			c.table(p, series, x, y, w, h)
		}
		return true, nil
	case "timeseries":
		var curves []curve
		for _, t := range p.Targets {
			series, err := from.Range(ctx, t.PromQL(span.Rate), span.From, span.To, span.Step)
			if err != nil {
				return false, err
			}
			for _, s := range series {
				curves = append(curves, curve{s.Name(t.Legend), s.Points, palette[len(curves)%len(palette)]})
			}
		}
		if len(curves) > 0 {
			c.plot(p, curves, span, x, y, w, h)
		}
		return len(curves) > 0, nil
	}
	return false, fmt.Errorf("a panel of type %q cannot be drawn", p.Type)
}

// color returns that of the highest threshold which the value has reached.
func (p Panel) color(value float64) string {
	color := named["blue"]
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			color = named[step.Color]
		}
	}
	return color
}

func (c *canvas) stat(p Panel, value, x, y, w, h float64) {
	if decimals := p.FieldConfig.Defaults.Decimals; decimals != nil {
		shift := math.Pow10(*decimals)
		value = math.Round(value*shift) / shift
	}
	c.rect(x, y, w, h, p.color(value))
	c.text(x+10, y+20, "start", "font-weight:bold;font-size:12px;fill:#fff", p.Title)
	c.text(x+w/2, y+h/2+26, "middle", "font-size:34px;fill:#fff", format(value, p.FieldConfig.Defaults.Unit))
}

func (c *canvas) table(p Panel, series []Series, x, y, w, h float64) {
	at := y + top + line
	for _, s := range series {
		if at > y+h-6 {
			c.text(x+10, y+h-6, "start", "", "…")
			return
		}
		c.text(x+10, at, "start", "", s.Name(p.Targets[0].Legend))
		style := "font-weight:bold"
		if len(p.FieldConfig.Defaults.Thresholds.Steps) > 1 {
			style += ";fill:" + p.color(s.Last())
		}
		c.text(x+w-10, at, "end", style, format(s.Last(), p.FieldConfig.Defaults.Unit))
		at += line + 4
	}
}

// curve is a series with its name and colour.
type curve struct {
	name   string
	points []Point
	color  string
}

func (c *canvas) plot(p Panel, curves []curve, span Span, x, y, w, h float64) {
	legend := legendLines(curves, w-20)
	x0, y0 := x+left, y+top
	w0, h0 := w-left-12, h-top-bottom-float64(len(legend)*line)
	stacked := p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	if stacked {
		curves = stack(curves)
	}
	highest := 0.0
	for _, curve := range curves {
		for _, point := range curve.points {
			if !math.IsNaN(point.Value) && !math.IsInf(point.Value, 0) {
				highest = max(highest, point.Value)
			}
		}
	}
	tick := niceTick(highest)
	if p.FieldConfig.Defaults.Unit == "s" && highest > 60 {
		tick = 60 * math.Ceil(highest/60/5) // whole minutes
	}
	most := tick * max(1, math.Ceil(highest/tick))
	for value := 0.0; value <= most+tick/2; value += tick {
		at := y0 + h0 - value/most*h0
		fmt.Fprintf(c, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#d8dee4\"/>\n", x0, at, x0+w0, at)
		c.text(x0-6, at+4, "end", "fill:#57606a", format(value, p.FieldConfig.Defaults.Unit))
	}
	length := span.To.Sub(span.From).Seconds()
	for i := range 4 {
		at := span.From.Add(time.Duration(float64(i) / 3 * length * float64(time.Second)))
		c.text(x0+float64(i)/3*w0, y0+h0+line, []string{"start", "middle", "middle", "end"}[i], "fill:#57606a", at.UTC().Format("15:04:05"))
	}
	place := func(point Point) (float64, float64) {
		return x0 + point.At.Sub(span.From).Seconds()/length*w0, y0 + h0 - point.Value/most*h0
	}
	for i := len(curves) - 1; i >= 0; i-- { // the lowest of a stack is in front
		c.curve(curves[i], place, y0+h0, stacked)
	}
	for i, words := range legend {
		at := x + 10
		for _, curve := range words {
			baseline := y + h - float64((len(legend)-1-i)*line) - 6
			c.rect(at, baseline-8, 9, 9, curve.color)
			c.text(at+13, baseline, "start", "", curve.name)
			at += legendWidth(curve.name)
		}
	}
}

// curve draws the line, and fills what is below it if it is part of a stack.
func (c *canvas) curve(curve curve, place func(Point) (float64, float64), floor float64, fill bool) {
	var path strings.Builder
	var first, last float64
	flush := func() {
		if path.Len() == 0 {
			return
		}
		if fill {
			fmt.Fprintf(c, "<path d=\"M%.1f,%.1f L%s L%.1f,%.1f Z\" fill=\"%s\" stroke=\"none\"/>\n", first, floor, path.String(), last, floor, curve.color)
		} else {
			fmt.Fprintf(c, "<path d=\"M%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"/>\n", path.String(), curve.color)
		}
		path.Reset()
	}
	for _, point := range curve.points {
		if math.IsNaN(point.Value) || math.IsInf(point.Value, 0) {
			flush() // a gap
			continue
		}
		x, y := place(point)
		if path.Len() == 0 {
			first = x
		} else {
			path.WriteString(" L")
		}
		fmt.Fprintf(&path, "%.1f,%.1f", x, y)
		last = x
	}
	flush()
}

// stack adds to each curve what lies below it.
func stack(curves []curve) []curve {
	sums := make(map[int64]float64)
	stacked := make([]curve, len(curves))
	for i, c := range curves {
		points := make([]Point, len(c.points))
		for j, point := range c.points {
			if !math.IsNaN(point.Value) {
				sums[point.At.Unix()] += point.Value
			}
			points[j] = Point{point.At, sums[point.At.Unix()]}
		}
		stacked[i] = curve{c.name, points, c.color}
	}
	return stacked
}

// legendWidth is how much room a name takes, roughly: SVG does not tell.
func legendWidth(name string) float64 { return 30 + 6.4*float64(len(name)) }

// legendLines breaks the legend into lines.
func legendLines(curves []curve, width float64) [][]curve {
	var lines [][]curve
	used := width
	for _, c := range curves {
		if used+legendWidth(c.name) > width {
			lines = append(lines, nil)
			used = 0
		}
		used += legendWidth(c.name)
		lines[len(lines)-1] = append(lines[len(lines)-1], c)
	}
	return lines
}

// niceTick returns a distance of 1, 2 or 5 times a power of ten, of which about four
// make the highest value.
func niceTick(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(highest/4)))
	for _, factor := range []float64{1, 2, 5} {
		if highest/(factor*power) <= 5 {
			return factor * power
		}
	}
	return 10 * power
}

// format writes a value in one of the units that the dashboard uses.
func format(value float64, unit string) string {
	number := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", value), "0"), ".")
	if math.Abs(value) >= 10 {
		number = fmt.Sprintf("%.0f", value)
	}
	switch unit {
	case "reqps":
		return number + "/s"
	case "cpm":
		return number + "/min"
	case "s":
		return formatSeconds(value)
	}
	return number
}

func formatSeconds(value float64) string {
	for _, unit := range []struct {
		name    string
		seconds float64
	}{{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}} {
		if math.Abs(value) >= unit.seconds {
			return fmt.Sprintf("%.3g %s", value/unit.seconds, unit.name)
		}
	}
	if value == 0 {
		return "0"
	}
	return fmt.Sprintf("%.3g ms", value*1000)
}
