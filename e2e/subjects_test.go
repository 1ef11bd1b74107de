package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-dns/bestdns"
	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
	_ "github.com/caddy-dns/bestdns/service"
	_ "github.com/caddy-dns/rfc2136"
)

// Subject is a zone as a user of libdns has it: through the client, over HTTP or
// in the same process, with its records in the built-in name server, at Knot by a provider
// module, or at a primary name server of others.
type Subject struct {
	Name    string
	Service *bestdns.Provider
	// Again is a second client of the same service, as after a restart.
	Again *bestdns.Provider
	// Zone is absolute, and DNS the address of a name server for it.
	Zone, DNS string
	// Challenge is a second zone, the challenge name of a domain, with its server.
	Challenge, ChallengeDNS string
	// Made are the records that the zone and the challenge zone have by themselves,
	// as name and type.
	Made, ChallengeMade []string
	// AtKnot is for what the provider module in between cannot carry.
	AtKnot bool
	// OnPrimary is for what dynamic updates do otherwise than the built-in name server.
	OnPrimary bool
	// PowerDNS is for what it cannot do.
	PowerDNS bool
}

// subjects starts what they need and returns all of them. Those at Knot are left
// out where it is not installed, unless the peers are required.
func subjects(t *testing.T) []Subject {
	t.Helper()
	env := make(harness.Env)
	knot := startKnots(t, env)
	primaries := startSubjectPrimaries(t, env)
	var all []Subject
	for _, mode := range []struct {
		name  string
		start func(*testing.T, harness.Env) (provider, again *bestdns.Provider)
	}{
		{"over HTTP", startOverHTTP},
		{"in process", startInProcess},
	} {
		own := harness.Env{"DNS": harness.FreeAddr(t), "STORE": filepath.Join(t.TempDir(), "records.db")}
		for name, value := range env {
			own[name] = value
		}
		p, again := mode.start(t, own)
		all = append(all, Subject{
			Name: mode.name + ", built in", Service: p, Again: again,
			Zone: "builtin.example.", DNS: own["DNS"],
			Challenge: "_acme-challenge.www.delegated.example.", ChallengeDNS: own["DNS"],
			Made:          []string{"@ NS", "@ SOA", "ns1 A"},
			ChallengeMade: []string{"@ NS", "@ SOA"},
		})
		if knot {
			all = append(all, Subject{
				Name: mode.name + ", at Knot", Service: p, Again: again,
				Zone: "knot.example.", DNS: own["KNOT"],
				Challenge: "_acme-challenge.www.knot-delegated.example.", ChallengeDNS: own["KNOT_CHALLENGE"],
				Made:          []string{"@ NS", "@ SOA", "ns1 A"},
				ChallengeMade: []string{"@ NS", "@ SOA", "ns1 A"},
				AtKnot:        true,
			})
		}
		if mode.name == "in process" { // they are the same for all clients
			continue
		}
		for _, s := range primaries {
			s.Name, s.Service, s.Again = mode.name+", "+s.Name, p, again
			all = append(all, s)
		}
	}
	return all
}

// startKnots runs Knot for each of the two zones, if it is there, and puts into
// env how to reach them.
func startKnots(t *testing.T, env harness.Env) (started bool) {
	t.Helper()
	if !installed(t, [2]string{"knotd", "knot"}) {
		env["AT_KNOT"] = "conformance-none.caddyfile"
		return false
	}
	env["AT_KNOT"] = "conformance-knot.caddyfile"
	for prefix, zone := range map[string]string{
		"KNOT":           "knot.example",
		"KNOT_CHALLENGE": "_acme-challenge.www.knot-delegated.example",
	} {
		k := harness.StartKnot(t, zone)
		env[prefix], env[prefix+"_KEY_NAME"], env[prefix+"_KEY"] = k.Addr, k.KeyName, k.Key
	}
	return true
}

// installed leaves it to [harness.Debian] to say what is missing, which skips the
// subtest alone.
func installed(t *testing.T, programs ...[2]string) (yes bool) {
	t.Run(programs[0][0]+" is installed", func(t *testing.T) {
		for _, p := range programs {
			harness.Debian(t, p[0], p[1])
		}
		yes = true
	})
	return yes
}

// startOverHTTP runs the service in the Caddy under test.
func startOverHTTP(t *testing.T, env harness.Env) (provider, again *bestdns.Provider) {
	t.Helper()
	token, addr := api.NewToken(), harness.FreeAddr(t)
	env["TOKEN_DIGEST"], env["API_PORT"] = harness.Digest(token), harness.Port(t, addr)
	harness.StartCaddy(t, harness.CaddyBinary, "conformance.caddyfile", env)
	newProvider := func() *bestdns.Provider {
		return &bestdns.Provider{Endpoint: "http://" + addr, APIToken: token}
	}
	return newProvider(), newProvider()
}

// startInProcess runs the service in this process.
func startInProcess(t *testing.T, env harness.Env) (provider, again *bestdns.Provider) {
	t.Helper()
	env["TOKEN_DIGEST"], env["API_PORT"] = harness.Digest(api.NewToken()), harness.Port(t, harness.FreeAddr(t))
	LoadCaddy(t, "conformance.caddyfile", env)
	return localProvider(t), localProvider(t)
}

// localProvider is what "dns bestdns" makes in the Caddy of this process.
func localProvider(t testing.TB) *bestdns.Provider {
	t.Helper()
	module, err := caddy.ActiveContext().LoadModuleByID("dns.providers.bestdns", json.RawMessage("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return module.(*bestdns.Provider)
}

// A process has one Caddy.
var theCaddy sync.Mutex

// LoadCaddy runs a Caddyfile of testdata in this process until the test ends. It
// waits for other tests that do the same.
func LoadCaddy(t testing.TB, caddyfile string, env harness.Env) {
	t.Helper()
	theCaddy.Lock()
	t.Cleanup(theCaddy.Unlock)
	dir := t.TempDir()
	logFile := filepath.Join(dir, "caddy.log")
	options := fmt.Sprintf("admin off\npersist_config off\nauto_https off\nstorage file_system %q\n"+
		"log {\noutput file %q\nformat json\nlevel DEBUG\n}\n", dir, logFile)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
		[]byte(expand(t, caddyfile, env, options)), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("loading %s: %v", caddyfile, err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		checkLogFile(t, logFile)
	})
}

func checkLogFile(t testing.TB, name string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	log := &harness.Log{Changed: make(chan struct{})}
	log.Read(file)
	harness.CheckLog(t, log, nil)
	if t.Failed() {
		t.Logf("the log of the Caddy in this process:\n%s", log)
	}
}

var (
	caddyfileVariable = regexp.MustCompile(`\{\$([A-Z_]+)\}`)
	caddyfileImport   = regexp.MustCompile(`(?m)^\s*import (\S+)$`)
)

// expand returns a Caddyfile with the variables and files that it refers to in
// their places, and the options in that of the harness. Caddy itself would take
// the variables from this process's environment, which all tests share.
func expand(t testing.TB, caddyfile string, env harness.Env, options string) string {
	t.Helper()
	text, err := os.ReadFile(harness.Testdata(t, caddyfile))
	if err != nil {
		t.Fatal(err)
	}
	expanded := caddyfileVariable.ReplaceAllStringFunc(string(text), func(variable string) string {
		return env[strings.Trim(variable, "{$}")]
	})
	return caddyfileImport.ReplaceAllStringFunc(expanded, func(line string) string {
		switch file := strings.Fields(line)[1]; file {
		case "harness.caddyfile":
			return options
		default:
			return expand(t, file, env, options)
		}
	})
}
