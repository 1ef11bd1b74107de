// Package neighbour has a client do its worst within its rights, and measures what becomes
// of others who use the same service.
package neighbour

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

// Neighbourhood is a service that several clients share, one of them noisy. What it
// logs goes to a file: it may be more than a test should hold, or read.
type Neighbourhood struct {
	DNS, API, TLS           string // addresses
	Noisy, Victim, Operator string // tokens

	t          testing.TB
	dir        string
	cmd        *exec.Cmd
	stopped    atomic.Bool   // ended by the test
	overweight atomic.Bool   // ended by the test, for the memory that it took
	ended      chan struct{} // closed when the process is gone
}

// noisyHost is the host of the site with TLS.
const noisyHost = "api.hosted.example"

// NewNeighbourhood starts a service whose noisy client has the rights given, and in
// which challenges live as long as it says. It ends with the test.
func NewNeighbourhood(t testing.TB, rights []string, challengeLifetime string) *Neighbourhood {
	t.Helper()
	n := &Neighbourhood{
		DNS: harness.FreeAddr(t), API: harness.FreeAddr(t), TLS: harness.FreeAddr(t),
		Noisy: api.NewToken(), Victim: api.NewToken(), Operator: api.NewToken(),
		t:     t,
		dir:   t.TempDir(),
		ended: make(chan struct{}),
	}
	if challengeLifetime == "" {
		challengeLifetime = "24h"
	}
	n.cmd = exec.Command(harness.CaddyBinary, "run", "--adapter", "caddyfile", "--config", harness.Testdata(t, "neighbour.caddyfile"))
	n.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + n.dir,
		"XDG_DATA_HOME=" + n.dir,
		"XDG_CONFIG_HOME=" + n.dir,
		"DNS=" + n.DNS,
		"STORE=" + n.storePath(),
		"API_PORT=" + harness.Port(t, n.API),
		"HTTP_PORT=" + harness.Port(t, harness.FreeAddr(t)),
		"HTTPS_PORT=" + harness.Port(t, n.TLS),
		"CHALLENGE_LIFETIME=" + challengeLifetime,
		"NOISY_DIGEST=" + harness.Digest(n.Noisy),
		"VICTIM_DIGEST=" + harness.Digest(n.Victim),
		"OPERATOR_DIGEST=" + harness.Digest(n.Operator),
		"RIGHTS=" + strings.Join(rights, "\n\t\t\t"),
	}
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(n.logPath())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stderr = log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		n.cmd.Wait()
		close(n.ended)
	}()
	t.Cleanup(n.stop)
	n.waitUp()
	return n
}

func (n *Neighbourhood) storePath() string { return filepath.Join(n.dir, "records.db") }
func (n *Neighbourhood) logPath() string   { return filepath.Join(n.dir, "log") }

// waitUp waits until the service is healthy and has a certificate.
func (n *Neighbourhood) waitUp() {
	n.t.Helper()
	deadline := time.After(harness.StartTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := n.healthy()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-n.ended:
			n.t.Fatalf("the service ended; its log:\n%s", n.logEnd())
		case <-deadline:
			n.t.Fatalf("the service does not come up: %v; its log:\n%s", err, n.logEnd())
		}
	}
}

// healthy asks the service for its health, by both of its sites.
func (n *Neighbourhood) healthy() error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + n.API + "/v1/health")
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", n.TLS, tlsOf("http/1.1"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// tlsOf is the configuration of a client of the site with TLS.
func tlsOf(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: noisyHost, NextProtos: []string{protocol}}
}

// stop kills the service, and fails the test for what should not be in its log.
func (n *Neighbourhood) stop() {
	n.stopped.Store(true)
	n.cmd.Process.Kill()
	<-n.ended
	if fault := n.logFault(); fault != "" {
		n.t.Errorf("in the service's log: %s", fault)
	}
}

// Alive reports whether the process still runs.
func (n *Neighbourhood) Alive() bool {
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// whatEnded says how the process ended by itself, "" while it runs.
func (n *Neighbourhood) whatEnded() string {
	switch {
	case n.Alive():
		return ""
	case n.overweight.Load():
		return fmt.Sprintf("killed at %s of memory", bytesText(tooHeavy))
	case n.stopped.Load():
		return ""
	}
	return "ended: " + n.cmd.ProcessState.String()
}

// memory returns how much memory the process has, in bytes; 0 once it is gone.
func (n *Neighbourhood) memory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(string(line), "kB")), 10, 64)
	if err != nil {
		return 0 // a process that is gone has none
	}
	return kilobytes << 10
}

// tooHeavy is how much memory a service gets before it is killed: the machine has
// other tests to run.
const tooHeavy = 4 << 30

// watchMemory calls peak with the memory of the process, until the context ends.
func (n *Neighbourhood) watchMemory(ctx context.Context, peak *atomic.Int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now := n.memory()
		peak.Store(max(peak.Load(), now))
		if now > tooHeavy {
			n.overweight.Store(true)
			n.cmd.Process.Kill()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// logEnd returns the last lines of the log.
func (n *Neighbourhood) logEnd() string {
	const most = 8 << 10
	log, err := os.Open(n.logPath())
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	if size := sizeOf(n.logPath()); size > most {
		log.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(log)
	return string(text)
}

// logFault returns the first sign in the log of what no client may bring about, and
// what follows it.
func (n *Neighbourhood) logFault() string {
	log, err := os.Open(n.logPath())
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	lines := bufio.NewReaderSize(log, 1<<16)
	for {
		line, err := lines.ReadSlice('\n') // of a longer one, each piece
		for _, sign := range []string{"panic:", "DATA RACE", "fatal error:"} {
			if bytes.Contains(line, []byte(sign)) {
				fault := string(line)
				rest, _ := io.ReadAll(io.LimitReader(lines, 2<<10))
				return fault + string(rest)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return ""
		}
	}
}

// tally counts things by name.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]int)
	}
	t.counts[what]++
}

// all returns the counts, and their sum.
func (t *tally) all() (counts map[string]int, sum int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, count := range t.counts {
		sum += count
	}
	return maps.Clone(t.counts), sum
}

// bytesText writes a size as people read it.
func bytesText(n int64) string {
	switch {
	case n < 0:
		return "-" + bytesText(-n)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f kB", float64(n)/(1<<10))
}
