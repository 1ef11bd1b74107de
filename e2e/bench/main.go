// Command bench runs all benchmarks, and the comparison with Knot where Debian's
// packages for it are installed, and prints one table of what they measured. What they
// print themselves goes to the standard error while they run. It has to be run in the
// folder e2e.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
)

var (
	goCommand = flag.String("go", "go", "the go command")
	count     = flag.Int("count", 1, "how often to run each of the benchmarks; the table has the best")
)

// program is something that measures, and the folder in which it does.
type program struct {
	title string // goes before what it calls its lines, where that is not a package
	dir   string
	args  []string // of the go command
}

func programs() []program {
	count := fmt.Sprintf("-count=%d", *count)
	return []program{
		{"", "..", []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-timeout", "0", count, "./..."}},
		{"", ".", []string{"test", "-run", "^$", "-bench", "Start", "-benchtime", "3x", "-timeout", "0", count, "."}},
		{"", ".", []string{"test", "-run", "^$", "-bench", "Certificate", "-benchtime", "20x", "-timeout", "0", count, "."}},
		{"queries", ".", []string{"run", "./speed"}},
	}
}

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := 0
	var all table
	for _, p := range programs() {
		if err := p.run(ctx, &all); err != nil {
			fmt.Fprintf(os.Stderr, "bench: go %s: %v\n", strings.Join(p.args, " "), err)
			failed++
		}
	}
	all.write(os.Stdout)
	if failed > 0 {
		os.Exit(1)
	}
}

// run runs a program and adds what it measured to the table.
func (p program) run(ctx context.Context, to *table) error {
	cmd := exec.CommandContext(ctx, *goCommand, p.args...)
	cmd.Dir = p.dir
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := to.read(bufio.NewReader(io.TeeReader(stdout, os.Stderr)), p.title)
	if err := cmd.Wait(); err != nil {
		return err
	}
	return readErr
}
