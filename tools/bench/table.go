package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is what was measured, in the order in which it was.
type table struct{ rows []row }

// row is one benchmark.
type row struct {
	name string
	time float64 // ns; zero where the benchmark has other measures only
	rest []string
}

// benchmarkName takes the number of processors off what go test prints.
var benchmarkName = regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?$`)

// read reads the output of go test -bench, and of programs that print a table of their
// own in Markdown, and passes over what is neither. The title goes before the names of
// its rows, until a package is named.
func (t *table) read(r *bufio.Reader, title string) error {
	var header []string
	for {
		line, err := r.ReadString('\n')
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			switch {
			case header == nil:
				header = cells
			case strings.HasPrefix(cells[0], "-"):
			default:
				t.add(markdownRow(title, header, cells))
			}
		case len(fields) == 2 && fields[0] == "pkg:":
			title = path.Base(fields[1])
		case len(fields) >= 4:
			if name := benchmarkName.FindStringSubmatch(fields[0]); name != nil {
				t.add(benchmarkRow(title+" "+name[1], fields[2:]))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// benchmarkRow makes a row of values and their units.
func benchmarkRow(name string, measures []string) row {
	r := row{name: strings.ReplaceAll(name, "_", " ")}
	for pair := range slices.Chunk(measures, 2) {
		if len(pair) < 2 {
			break
		}
		if pair[1] == "ns/op" {
			r.time, _ = strconv.ParseFloat(pair[0], 64)
			continue
		}
		r.rest = append(r.rest, pair[0]+" "+pair[1])
	}
	return r
}

func markdownRow(title string, header, cells []string) row {
	r := row{name: title + " " + strings.TrimSpace(cells[0])}
	for i := 1; i < min(len(header), len(cells)); i++ {
		r.rest = append(r.rest, strings.TrimSpace(cells[i])+" "+strings.TrimSpace(header[i]))
	}
	return r
}

// add adds a row, or puts it instead of a slower one of the same benchmark.
func (t *table) add(r row) {
	i := slices.IndexFunc(t.rows, func(other row) bool { return other.name == r.name })
	switch {
	case i < 0:
		t.rows = append(t.rows, r)
	case r.time < t.rows[i].time:
		t.rows[i] = r
	}
}

// write writes the table in Markdown.
func (t *table) write(w io.Writer) {
	fmt.Fprint(w, "| benchmark | time | measured |\n|---|---|---|\n")
	for _, r := range t.rows {
		took := ""
		if r.time > 0 {
			took = rounded(time.Duration(r.time)).String()
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", r.name, took, strings.Join(r.rest, ", "))
	}
}

// rounded leaves three digits or so of a duration.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
