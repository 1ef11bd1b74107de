// Command speed compares how fast the name server answers, and with how much CPU
// time, to Knot on the same machine: each round measures both, one directly after
// the other, and what is printed are the medians of the ratios, and between which
// values the middle half of them lies.
//
// It needs Debian's packages dnsperf and knot, and says so where they are missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// run is what is compared in one line of the table.
type run struct {
	title     string
	names     int
	mixedCase bool
	edns      bool
}

var (
	rounds  = flag.Int("rounds", 9, "how many rounds to measure")
	seconds = flag.Int("seconds", 3, "how long each server is asked in a round")
	names   = flag.Int("names", 10_000, "how many names the zone has in the first two lines")
	sizes   = flag.String("sizes", "100 100000 1000000", "how many it has in further ones")
	caddy   = flag.String("caddy", os.Getenv("BESTDNS_CADDY"), "a Caddy with BestDNS; one is built where none is given")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context) error {
	for _, program := range []string{"dnsperf", "knotd"} {
		if _, err := find(program); err != nil {
			fmt.Printf("No comparison with Knot: %v\n", err)
			return nil
		}
	}
	dir, err := os.MkdirTemp("", "bestdns-speed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *caddy == "" {
		*caddy = filepath.Join(dir, "caddy")
		build := exec.CommandContext(ctx, "go", "build", "-C", "cmd/caddy", "-trimpath", "-o", *caddy, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building Caddy (is this the root of the repository?): %w", err)
		}
	}
	runs := []run{
		{title: fmt.Sprintf("%d names", *names), names: *names},
		{title: "the same, EDNS, mixed case", names: *names, edns: true, mixedCase: true},
	}
	for _, size := range strings.Fields(*sizes) {
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("reading -sizes: %w", err)
		}
		runs = append(runs, run{title: size + " names", names: n})
	}
	fmt.Println("| | queries/s | rate ÷ Knot's | CPU µs a query | CPU time ÷ Knot's | lost, by Knot |")
	fmt.Println("|---|---|---|---|---|---|")
	for i, r := range runs {
		if err := r.measure(ctx, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
	}
	return nil
}

// find finds a program, also in the folder where Debian has its servers.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		return "", fmt.Errorf("%s is not here: it comes with Debian's packages dnsperf and knot", program)
	}
	return path, nil
}

// measure prints a line of the table.
func (r run) measure(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	bestDNS, err := startBestDNS(ctx, dir, r.names)
	if err != nil {
		return fmt.Errorf("BestDNS: %w", err)
	}
	defer bestDNS.stop()
	knot, err := startKnot(ctx, dir, r.names)
	if err != nil {
		return fmt.Errorf("measuring Knot: %w", err)
	}
	defer knot.stop()
	questions := filepath.Join(dir, "questions")
	if err := os.WriteFile(questions, r.questions(), 0o600); err != nil {
		return err
	}

	var rate, cpu, rateRatio, cpuRatio []float64
	var lost, lostByKnot int
	for i := range 1 + *rounds {
		pair := []*server{bestDNS, knot}
		if i%2 == 1 { // neither always has the machine as the other left it
			slices.Reverse(pair)
		}
		results := make(map[*server]result)
		for _, s := range pair {
			result, err := r.load(ctx, s, questions)
			if err != nil {
				return err
			}
			results[s] = result
		}
		if i == 0 {
			continue // caches are cold
		}
		ours, theirs := results[bestDNS], results[knot]
		fmt.Fprintf(os.Stderr, "round %d: %.0f against %.0f queries/s, %.2f against %.2f µs, lost %d and %d\n",
			i, ours.rate, theirs.rate, ours.cpu, theirs.cpu, ours.lost, theirs.lost)
		lost, lostByKnot = lost+ours.lost, lostByKnot+theirs.lost
		rate, cpu = append(rate, ours.rate), append(cpu, ours.cpu)
		rateRatio, cpuRatio = append(rateRatio, ours.rate/theirs.rate), append(cpuRatio, ours.cpu/theirs.cpu)
	}
	fmt.Printf("| %s | %.0f | %s | %.2f | %s | %d, %d |\n",
		r.title, quantile(rate, 0.5), spread(rateRatio), quantile(cpu, 0.5), spread(cpuRatio), lost, lostByKnot)
	return nil
}

// spread prints the median of values and the quartiles around it.
func spread(values []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75))
}

// quantile returns the value below which that part of the others lies.
func quantile(values []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(part*float64(len(sorted)-1)+0.5)]
}

// result is what one server did in one round.
type result struct {
	rate float64 // queries per second
	cpu  float64 // µs of the server's CPU time for each
	lost int
}

// load has dnsperf ask a server as much as it can.
func (r run) load(ctx context.Context, s *server, questions string) (result, error) {
	host, port, _ := strings.Cut(s.addr, ":")
	args := []string{"-s", host, "-p", port, "-d", questions, "-c", "8", "-q", "200", "-l", fmt.Sprint(*seconds)}
	if r.edns {
		args = append(args, "-e")
	}
	time.Sleep(200 * time.Millisecond) // what the last one left is over
	before, err := s.cpuTime()
	if err != nil {
		return result{}, err
	}
	out, err := exec.CommandContext(ctx, "dnsperf", args...).Output()
	if err != nil {
		return result{}, fmt.Errorf("dnsperf: %w", err)
	}
	after, err := s.cpuTime()
	if err != nil {
		return result{}, err
	}
	var answered, lost int
	var rate float64
	for line := range strings.Lines(string(out)) {
		label, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); label {
		case "Queries completed":
			_, err = fmt.Sscan(value, &answered)
		case "Queries lost":
			_, err = fmt.Sscan(value, &lost)
		case "Queries per second":
			_, err = fmt.Sscan(value, &rate)
		case "Response codes":
			if !strings.Contains(value, "NOERROR") || strings.Contains(value, "REFUSED") || strings.Contains(value, "SERVFAIL") {
				return result{}, fmt.Errorf("%s answered %s", s.addr, value)
			}
		}
		if err != nil {
			return result{}, fmt.Errorf("reading what dnsperf says, %q: %w", line, err)
		}
	}
	if answered == 0 {
		return result{}, errors.New("dnsperf got no answers:\n" + string(out))
	}
	return result{rate: rate, cpu: float64((after - before).Microseconds()) / float64(answered), lost: lost}, nil
}
