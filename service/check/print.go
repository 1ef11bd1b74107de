package check

import (
	"fmt"
	"io"
	"strings"
)

// Printer writes steps for people, each as it ends, as they are: [Run] has made their texts
// safe to show.
type Printer struct {
	Out io.Writer
	// Signs puts a sign before the word that says how a step ended. Terminals show
	// them; in a file or a mail they are in the way.
	Signs bool

	zone  string // whose heading was printed last
	notes []Step // which come after the summary
}

// signs come before the words, and never replace them.
var signs = map[Status]string{OK: "✓", Warning: "!", Wrong: "✗", Skipped: "-", Unknown: "?", Note: "·"}

// Widths of the columns.
const (
	statusWidth = len("not checked")
	nameWidth   = len("interrupted")
)

// Step writes one step. Notes, which say nothing about what was checked, are kept for the summary.
func (p *Printer) Step(s Step) {
	if s.Status == Note {
		p.notes = append(p.notes, s)
		return
	}
	p.step(s)
}

func (p *Printer) step(s Step) {
	var b strings.Builder
	if s.Zone != p.zone {
		if s.Zone != "" {
			fmt.Fprintf(&b, "\nzone %s\n", s.Zone)
		} else {
			b.WriteString("\n")
		}
		p.zone = s.Zone
	}
	margin := statusWidth + nameWidth + len("    ")
	if p.Signs {
		margin += len("x ")
		b.WriteString(signs[s.Status] + " ")
	}
	fmt.Fprintf(&b, "%-*s  %-*s  %s\n", statusWidth, s.Status, nameWidth, s.Name, s.Found)
	indent := strings.Repeat(" ", margin)
	if s.Do != "" {
		fmt.Fprintf(&b, "%s%s\n", indent, s.Do)
	}
	for _, line := range s.Lines {
		fmt.Fprintf(&b, "%s    %s\n", indent, line)
	}
	p.write(b.String())
}

// Summary writes how many steps are not right, and the notes.
func (p *Printer) Summary(r *Report) {
	p.summary(r)
	p.zone = ""
	for i, note := range p.notes {
		if i == 0 {
			p.write("\n")
		}
		p.step(note)
	}
	p.notes = nil
}

func (p *Printer) summary(r *Report) {
	wrong, warnings, unknown := r.count(Wrong), r.count(Warning), r.count(Unknown)
	var parts []string
	if wrong > 0 {
		parts = append(parts, counted(wrong, "is wrong", "are wrong"))
	}
	if unknown > 0 {
		parts = append(parts, counted(unknown, "could not be checked", "could not be checked"))
	}
	if warnings > 0 {
		parts = append(parts, counted(warnings, "has a warning", "have a warning"))
	}
	switch {
	case len(parts) == 0:
		p.write("\nAll that was checked is right.\n")
	case wrong > 1:
		p.write("\n" + strings.Join(parts, ", ") + ". Begin with the first that is wrong: what follows may come from it.\n")
	default:
		p.write("\n" + strings.Join(parts, ", ") + ".\n")
	}
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 step " + one
	}
	return fmt.Sprintf("%d steps %s", n, many)
}

// write ignores an error: the output is gone, and with it its reader.
func (p *Printer) write(s string) { _, _ = io.WriteString(p.Out, s) }
