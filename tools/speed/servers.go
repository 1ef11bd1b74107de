package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-dns/bestdns/internal/api"
	"github.com/miekg/dns"
)

// server is a running name server.
type server struct {
	addr  string
	cmd   *exec.Cmd
	log   *bytes.Buffer
	ended chan struct{}
}

// start runs a name server, which is to answer for zone at addr.
func start(ctx context.Context, addr string, cmd *exec.Cmd) (*server, error) {
	s := &server{addr: addr, cmd: cmd, log: new(bytes.Buffer), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait(); close(s.ended) }()
	question := new(dns.Msg).SetQuestion(zone, dns.TypeSOA)
	for {
		answer, _, err := new(dns.Client).ExchangeContext(ctx, question, addr)
		if err == nil && answer.Authoritative {
			return s, nil
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("it ended:\n%s", s.log)
		case <-ctx.Done():
			s.stop()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	<-s.ended
}

// cpuTime returns how much of it the process has taken (proc_pid_schedstat is by
// the nanosecond, and by thread).
func (s *server) cpuTime() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(errors.New("this system does not tell how much CPU time a process took"), err)
	}
	var sum time.Duration
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		var ns time.Duration
		if _, err := fmt.Sscan(string(stat), &ns); err != nil {
			return 0, err
		}
		sum += ns
	}
	return sum, nil
}

// freeAddr returns a loopback address on which nothing listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func startKnot(ctx context.Context, dir string, names int) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "$ORIGIN %s\n@ 5 SOA ns1 hostmaster 1 3600 600 1209600 5\n@ 60 NS ns1\nns1 60 A 127.0.0.1\n", zone)
	for i := range names {
		fmt.Fprintf(&b, "%s 60 TXT %q\n", owner(i), text(i))
	}
	dir = filepath.Join(dir, "knot")
	config := fmt.Sprintf("server:\n    listen: %s\n    rundir: %q\ndatabase:\n    storage: %q\nzone:\n  - domain: %s\n    storage: %q\n    file: zone\n",
		strings.Replace(addr, ":", "@", 1), dir, dir, zone, dir)
	err = errors.Join(
		os.Mkdir(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "zone"), b.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(config), 0o600))
	if err != nil {
		return nil, err
	}
	program, err := find("knotd")
	if err != nil {
		return nil, err
	}
	return start(ctx, addr, exec.Command(program, "-c", filepath.Join(dir, "knot.conf")))
}

// caddyfile is as a user would have it, with rate limiting, which is on unless it is
// turned off, and metrics. (Who asks from a loopback address is charged like
// everyone, and never over the limit.)
const caddyfile = `{
	admin %s
	metrics
	auto_https off
	bestdns {
		listen %s
		store %q
		zone %s {
			ns ns1.%[4]s 127.0.0.1
		}
		client speed {
			token sha256:%[5]x
			allow under %[4]s
			max_records 0
			max_bytes 0
		}
	}
}
http://%[6]s {
	bestdns
}
`

func startBestDNS(ctx context.Context, dir string, names int) (*server, error) {
	var addrs [3]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	token := api.NewToken()
	config := fmt.Sprintf(caddyfile, addrs[0], addrs[1], filepath.Join(dir, "records.db"), zone, sha256.Sum256([]byte(token)), addrs[2])
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(*caddy, "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	s, err := start(ctx, addrs[1], cmd)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, "http://"+addrs[2], token, names); err != nil {
		s.stop()
		return nil, fmt.Errorf("filling the zone: %w\n%s", err, s.log)
	}
	return s, nil
}

// fill appends a record at each name through the API.
func fill(ctx context.Context, url, token string, names int) error {
	type rr struct {
		Name string `json:"name"`
		Type string `json:"type"`
		TTL  int    `json:"ttl"`
		Data string `json:"data"`
	}
	const most = 1000 // that the API takes at once
	for from := 0; from < names; from += most {
		var records []rr
		for i := from; i < min(from+most, names); i++ {
			records = append(records, rr{owner(i), "TXT", 60, text(i)})
		}
		body, err := json.Marshal(map[string][]rr{"append": records})
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, url+"/v1/zones/"+zone+"/records", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		if err := do(request); err != nil {
			return err
		}
	}
	return nil
}

// do makes a request until Caddy takes it: its sites may be up after its name server.
func do(request *http.Request) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.DefaultClient.Do(request)
		if err != nil && time.Now().Before(deadline) {
			request.Body, _ = request.GetBody()
			continue
		}
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			var b bytes.Buffer
			_, _ = b.ReadFrom(response.Body)
			return fmt.Errorf("%s: %s", response.Status, &b)
		}
		return nil
	}
}
