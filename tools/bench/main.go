// Command bench runs all benchmarks, the noisy neighbour test, and the comparison with
// Knot where Debian's packages for it are installed, and prints one table of what they
// measured. What they print themselves goes to standard error while they run. It has to
// be run in the root of the repository.
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
	"time"
)

var (
	goCommand = flag.String("go", "go", "the go command")
	count     = flag.Int("count", 1, "how often to run each of the benchmarks; the table has the best")
	neighbour = flag.Duration("neighbour", 30*time.Second, "how long the noisy neighbour attacks in each way")
)

// program is something that measures, and the folder in which it does.
type program struct {
	title string // goes before what it calls its lines, where that is not a package
	dir   string
	args  []string // of the go command
	env   []string // besides that of this process
}

func programs() []program {
	count := fmt.Sprintf("-count=%d", *count)
	return []program{
		{dir: ".", args: []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-timeout", "0", count, "./..."}},
		{dir: "e2e", args: []string{"test", "-run", "^$", "-bench", "Start", "-benchtime", "3x", "-timeout", "0", count, "."}},
		{dir: "e2e", args: []string{"test", "-run", "^$", "-bench", "Certificate", "-benchtime", "20x", "-timeout", "0", count, "."}},
		{title: "queries", dir: ".", args: []string{"run", "./tools/speed"}},
		{
			title: "neighbour:", dir: "e2e", env: []string{"BESTDNS_NEIGHBOUR=" + neighbour.String()},
			args: []string{"test", "-run", "^TestNoisyNeighbour$", "-v", "-count=1", "-timeout", "0", "."},
		},
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
	cmd.Env = append(os.Environ(), p.env...)
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
