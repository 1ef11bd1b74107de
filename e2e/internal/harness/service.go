package harness

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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/api"
)

// Service is a Caddy with the API and the name server for tests that end it in ways
// in which no program should be ended, and start it again on the same store.
type Service struct {
	DNS, API, Admin string
	Store           string
	Token           string

	T         testing.TB
	home      string
	Binary    string
	Wrapper   []string // goes before the command
	Caddyfile string   // of testdata
	Env       []string // beside what every Caddyfile has
	Client    *http.Client
	Cmd       *exec.Cmd
	Log       *Log
	Logs      []*Log        // one of each process, log being the last
	Ended     chan struct{} // closed when the process is gone
}

// NewService prepares a service with durable.caddyfile; it is yet to be started.
// Whatever of it runs at the end of the test is killed.
func NewService(t testing.TB) *Service {
	t.Helper()
	s := &Service{
		DNS: FreeAddr(t), API: FreeAddr(t), Admin: FreeAddr(t),
		Store:     filepath.Join(t.TempDir(), "records.db"),
		Token:     api.NewToken(),
		T:         t,
		Binary:    CaddyBinary,
		Caddyfile: "durable.caddyfile",
		home:      t.TempDir(),
		Client:    &http.Client{Transport: DefinedTransport(t, &http.Transport{MaxIdleConnsPerHost: 64})},
	}
	t.Cleanup(func() {
		s.Kill()
		s.Client.CloseIdleConnections()
		for _, log := range s.Logs {
			AssertNoToken(t, "the service's log", log.String())
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
	s.T.Helper()
	s.Launch()
	return s.WaitUp()
}

// WaitUp waits until a service that was launched takes changes, or returns why it
// ended.
func (s *Service) WaitUp() error {
	s.T.Helper()
	err := errors.Join(
		s.Log.Wait(1, StartTimeout, Message("serving initial configuration")),
		s.Log.Wait(1, StartTimeout, Message("the name server is up")),
	)
	if err == nil {
		return nil
	}
	select {
	case <-s.Ended:
		return fmt.Errorf("the service ended: %s", s.Log)
	case <-time.After(stopTimeout): // its log may end before it
		s.T.Fatalf("the service does not come up: %v; its log:\n%s", err, s.Log)
		return err
	}
}

// MustStart starts the service, which has to come up.
func (s *Service) MustStart() {
	s.T.Helper()
	if err := s.Start(); err != nil {
		s.T.Fatal(err)
	}
}

// Launch starts the service without waiting for it.
func (s *Service) Launch() {
	s.T.Helper()
	args := append(append([]string(nil), s.Wrapper...), s.Binary, "run", "--adapter", "caddyfile", "--config", Testdata(s.T, s.Caddyfile))
	s.Cmd = exec.Command(args[0], args[1:]...)
	s.Cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.home,
		"XDG_DATA_HOME=" + s.home,
		"XDG_CONFIG_HOME=" + s.home,
		"ADMIN=" + s.Admin,
		"DNS=" + s.DNS,
		"STORE=" + s.Store,
		"API_PORT=" + Port(s.T, s.API),
		"HTTP_PORT=" + Port(s.T, FreeAddr(s.T)),
		"HTTPS_PORT=" + Port(s.T, FreeAddr(s.T)),
		"TOKEN_DIGEST=" + Digest(s.Token),
	}
	s.Cmd.Env = append(s.Cmd.Env, s.Env...)
	s.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.Log = NewLog()
	s.Logs = append(s.Logs, s.Log)
	stderr, err := s.Cmd.StderrPipe()
	if err != nil {
		s.T.Fatal(err)
	}
	if err := s.Cmd.Start(); err != nil {
		s.T.Fatalf("starting %s: %v", args[0], err)
	}
	cmd, log, ended := s.Cmd, s.Log, make(chan struct{})
	s.Ended = ended
	go func() {
		log.Read(stderr)
		cmd.Wait()
		close(ended)
	}()
}

// Kill ends the service as a failing machine does, if it runs.
func (s *Service) Kill() {
	if s.Cmd == nil {
		return
	}
	s.Cmd.Process.Kill()
	<-s.Ended
	s.Cmd = nil
	s.Client.CloseIdleConnections()
	for _, e := range s.Log.Entries(Entry.bad) {
		if e.Level == "" { // a race or a panic
			s.T.Errorf("in the service's log: %s", e.Line)
		}
	}
}

// Stop ends the service as a service manager does.
func (s *Service) Stop() {
	s.T.Helper()
	s.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.Ended:
	case <-time.After(stopTimeout):
		s.T.Errorf("the service did not end within %s", stopTimeout)
	}
	s.Kill()
}

// ErrUnanswered is a request to which no answer came: what became of it is unknown.
var ErrUnanswered = errors.New("no answer came")

// Patch sends a change of the zone and returns the problem if it was refused, or
// errUnanswered.
func (s *Service) Patch(ctx context.Context, change api.Change) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://"+s.API+"/v1/zones/"+HostedZone+"/records", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
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
	s.T.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.API+"/v1/zones/"+HostedZone+"/records?type=TXT", nil)
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := s.Client.Do(req)
	if err != nil {
		s.T.Fatalf("reading the zone: %v", err)
	}
	defer resp.Body.Close()
	var answer api.Records
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		s.T.Fatalf("reading the zone: %s, %v", resp.Status, err)
	}
	texts := make(map[string][]string)
	for _, r := range answer.Records {
		texts[r.Name] = append(texts[r.Name], *r.Data)
	}
	return texts
}

// TextsByDNS returns the TXT records of some names of the zone, as DNS has them.
func (s *Service) TextsByDNS(names []string) map[string][]string {
	s.T.Helper()
	messages := make([][]byte, len(names))
	for i, name := range names {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name+"."+HostedZone), dns.TypeTXT)
		q.Id = uint16(i)
		var err error
		if messages[i], err = q.Pack(); err != nil {
			s.T.Fatal(err)
		}
	}
	texts := make(map[string][]string)
	for i, m := range AskAll(s.T, s.DNS, messages) {
		answer := new(dns.Msg)
		if err := answer.Unpack(m); err != nil {
			s.T.Fatal(err)
		}
		for _, rr := range answer.Answer {
			texts[names[i]] = append(texts[names[i]], rr.(*dns.TXT).Txt...)
		}
	}
	return texts
}

// Serial returns the serial of the zone's SOA, as DNS has it.
func (s *Service) Serial() (uint32, error) {
	answer, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(HostedZone), dns.TypeSOA), s.DNS)
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

// Text returns a TXT record for a change.
func Text(name, data string) api.Record {
	return api.Record{Name: name, Type: "TXT", TTL: new(int64(60)), Data: &data}
}

// MustPatch makes a change that has to succeed.
func (s *Service) MustPatch(t *testing.T, change api.Change) {
	t.Helper()
	if err := s.Patch(context.Background(), change); err != nil {
		t.Fatal(err)
	}
}

func Appending(records ...api.Record) api.Change { return api.Change{Append: records} }

// Has asks DNS and GET for a text at a name.
func (s *Service) Has(t *testing.T, name, text string) {
	t.Helper()
	want := []string{text}
	if diff := cmp.Diff(want, s.TextsByDNS([]string{name})[name]); diff != "" {
		t.Errorf("%s by DNS (-want +got):\n%s", name, diff)
	}
	if diff := cmp.Diff(want, s.Texts()[name]); diff != "" {
		t.Errorf("%s by GET (-want +got):\n%s", name, diff)
	}
}

// Command runs a command of Caddy's against the service and returns what it prints.
func (s *Service) Command(args ...string) ([]byte, error) {
	cmd := exec.Command(CaddyBinary, append(append([]string{"bestdns"}, args...), "--address", s.Admin)...)
	cmd.Env = []string{"HOME=" + s.home, "XDG_DATA_HOME=" + s.home, "XDG_CONFIG_HOME=" + s.home}
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	return out, err
}

func (s *Service) MustCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := s.Command(args...)
	if err != nil {
		t.Fatalf("caddy bestdns %s: %v", strings.Join(args, " "), err)
	}
	return out
}
