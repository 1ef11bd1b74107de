package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// Service is a Caddy with the API and the name server for tests that end it in ways
// in which no program should be ended, and start it again on the same store.
type Service struct {
	DNS, API, Admin string
	Store           string
	Token           string

	t         testing.TB
	home      string
	binary    string
	wrapper   []string // goes before the command
	caddyfile string   // of testdata
	client    *http.Client
	cmd       *exec.Cmd
	log       *Log
	logs      []*Log        // one of each process, log being the last
	ended     chan struct{} // closed when the process is gone
}

// NewService prepares a service with durable.caddyfile; it is yet to be started.
// Whatever of it runs at the end of the test is killed.
func NewService(t testing.TB) *Service {
	t.Helper()
	s := &Service{
		DNS: freeAddr(t), API: freeAddr(t), Admin: freeAddr(t),
		Store:     filepath.Join(t.TempDir(), "records.db"),
		Token:     api.NewToken(),
		t:         t,
		binary:    caddyBinary,
		caddyfile: "durable.caddyfile",
		home:      t.TempDir(),
		client:    &http.Client{Transport: DefinedTransport(t, &http.Transport{MaxIdleConnsPerHost: 64})},
	}
	t.Cleanup(func() {
		s.Kill()
		s.client.CloseIdleConnections()
		for _, log := range s.logs {
			assertNoToken(t, "the service's log", log.String())
			if t.Failed() {
				t.Logf("the service's log:\n%s", log)
			}
		}
	})
	return s
}

// Start starts the service and waits until it takes changes, or returns why it
// ended.
func (s *Service) Start() error {
	s.t.Helper()
	s.Launch()
	return s.waitUp()
}

// waitUp waits until a service that was launched takes changes, or returns why it
// ended.
func (s *Service) waitUp() error {
	s.t.Helper()
	err := errors.Join(
		s.log.Wait(1, startTimeout, message("serving initial configuration")),
		s.log.Wait(1, startTimeout, message("the name server is up")),
	)
	if err == nil {
		return nil
	}
	select {
	case <-s.ended:
		return fmt.Errorf("the service ended: %s", s.log)
	case <-time.After(stopTimeout): // its log may end before it
		s.t.Fatalf("the service does not come up: %v; its log:\n%s", err, s.log)
		return err
	}
}

// MustStart starts the service, which has to come up.
func (s *Service) MustStart() {
	s.t.Helper()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// Launch starts the service without waiting for it.
func (s *Service) Launch() {
	s.t.Helper()
	args := append(append([]string(nil), s.wrapper...), s.binary, "run", "--adapter", "caddyfile", "--config", testdata(s.t, s.caddyfile))
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.home,
		"XDG_DATA_HOME=" + s.home,
		"XDG_CONFIG_HOME=" + s.home,
		"ADMIN=" + s.Admin,
		"DNS=" + s.DNS,
		"STORE=" + s.Store,
		"API_PORT=" + port(s.t, s.API),
		"HTTP_PORT=" + port(s.t, freeAddr(s.t)),
		"HTTPS_PORT=" + port(s.t, freeAddr(s.t)),
		"TOKEN_DIGEST=" + digest(s.Token),
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.log = newLog()
	s.logs = append(s.logs, s.log)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting %s: %v", args[0], err)
	}
	cmd, log, ended := s.cmd, s.log, make(chan struct{})
	s.ended = ended
	go func() {
		log.read(stderr)
		cmd.Wait()
		close(ended)
	}()
}

// Kill ends the service as a failing machine does, if it runs.
func (s *Service) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
	s.client.CloseIdleConnections()
	for _, e := range s.log.Entries(Entry.bad) {
		if e.Level == "" { // a race or a panic
			s.t.Errorf("in the service's log: %s", e.Line)
		}
	}
}

// Stop ends the service as a service manager does.
func (s *Service) Stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		s.t.Errorf("the service did not end within %s", stopTimeout)
	}
	s.Kill()
}

// errUnanswered is a request to which no answer came: what became of it is unknown.
var errUnanswered = errors.New("no answer came")

// Patch sends a change of the zone and returns the problem if it was refused, or
// errUnanswered.
func (s *Service) Patch(ctx context.Context, change api.Change) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://"+s.API+"/v1/zones/"+hostedZone+"/records", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	problem := new(api.Problem)
	if err := json.Unmarshal(answer, problem); err != nil {
		return fmt.Errorf("status %s: %s", resp.Status, answer)
	}
	return problem
}

// Texts returns the TXT records of the zone by name, as GET has them.
func (s *Service) Texts() map[string][]string {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.API+"/v1/zones/"+hostedZone+"/records?type=TXT", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("reading the zone: %v", err)
	}
	defer resp.Body.Close()
	var answer api.Records
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("reading the zone: %s, %v", resp.Status, err)
	}
	texts := make(map[string][]string)
	for _, r := range answer.Records {
		texts[r.Name] = append(texts[r.Name], *r.Data)
	}
	return texts
}

// TextsByDNS returns the TXT records of some names of the zone, as DNS has them.
func (s *Service) TextsByDNS(names []string) map[string][]string {
	s.t.Helper()
	messages := make([][]byte, len(names))
	for i, name := range names {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name+"."+hostedZone), dns.TypeTXT)
		q.Id = uint16(i)
		var err error
		if messages[i], err = q.Pack(); err != nil {
			s.t.Fatal(err)
		}
	}
	texts := make(map[string][]string)
	for i, m := range askAll(s.t, s.DNS, messages) {
		answer := new(dns.Msg)
		if err := answer.Unpack(m); err != nil {
			s.t.Fatal(err)
		}
		for _, rr := range answer.Answer {
			texts[names[i]] = append(texts[names[i]], rr.(*dns.TXT).Txt...)
		}
	}
	return texts
}

// Serial returns the serial of the zone's SOA, as DNS has it.
func (s *Service) Serial() (uint32, error) {
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(hostedZone), dns.TypeSOA), s.DNS)
	if err != nil {
		return 0, err
	}
	if len(answer.Answer) == 1 {
		if soa, ok := answer.Answer[0].(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("no SOA in the answer: %v", answer)
}

// text returns a TXT record for a change.
func text(name, data string) api.Record {
	return api.Record{Name: name, Type: "TXT", TTL: new(int64(60)), Data: &data}
}
