package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
	"github.com/caddy-dns/bestdns/internal/api"
)

const (
	alertsFile  = "../docs/monitoring/alerts.yaml"
	alertTests  = "../docs/monitoring/alerts_test.yaml"
	pictureFile = "../docs/monitoring/dashboard.svg"
)

// alerts are the rules in a file.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	rules := make(map[string]string)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			rules[rule.Alert] = rule.Expr
		}
	}
	return rules
}

// exposed is what a service's /metrics has: values by label by metric.
type exposed map[string]map[string]map[string]bool

var (
	sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

func (m *Monitored) exposed(t *testing.T) exposed {
	t.Helper()
	resp, err := http.Get("http://" + m.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	metrics := exposed{
		// What Prometheus itself says of a target.
		"up": {"job": {"bestdns": true}},
	}
	for line := range strings.Lines(string(text)) {
		parts := sample.FindStringSubmatch(strings.TrimSpace(line))
		if parts == nil {
			continue
		}
		if metrics[parts[1]] == nil {
			metrics[parts[1]] = make(map[string]map[string]bool)
		}
		for _, l := range label.FindAllStringSubmatch(parts[2], -1) {
			if metrics[parts[1]][l[1]] == nil {
				metrics[parts[1]][l[1]] = make(map[string]bool)
			}
			metrics[parts[1]][l[1]][l[2]] = true
		}
	}
	return metrics
}

// check returns what a PromQL expression names that does not exist.
func (e exposed) check(expr string) error {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return err
	}
	known := map[string]bool{"instance": true, "job": true, "le": true}
	var problems []string
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		metric, there := e[selector.Name]
		if !there {
			problems = append(problems, "no metric "+selector.Name)
		}
		for label := range metric {
			known[label] = true
		}
		for _, m := range selector.LabelMatchers {
			if m.Name == "__name__" || m.Name == "instance" {
				continue
			}
			values := slices.Collect(maps.Keys(metric[m.Name]))
			if !slices.ContainsFunc(values, m.Matches) {
				problems = append(problems, fmt.Sprintf("%s has %s %q, none of which is %s", selector.Name, m.Name, values, m))
			}
		}
		return nil
	})
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if group, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range group.Grouping {
				if !known[label] {
					problems = append(problems, "nothing in it has a label "+label)
				}
			}
		}
		return nil
	})
	if problems != nil {
		return fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	return nil
}

// TestMonitoringNames holds the dashboard and the alert rules to what the service's
// own /metrics has: each metric, each label and each value that they name is there.
func TestMonitoringNames(t *testing.T) {
	t.Parallel()
	m := StartMonitored(t)
	m.renew(t, "web", "www", "acme.example", 0)
	m.change(t, "web", "acme.example", api.Change{Append: []api.Record{harness.Text("_acme-challenge.left", strings.Repeat("x", 43))}})
	m.change(t, "partner", "partner.example", api.Change{Append: []api.Record{harness.Text("served", "text")}})
	metrics := m.exposed(t)

	used := make(map[string]bool)
	note := func(where, expr string) {
		if err := metrics.check(expr); err != nil {
			t.Errorf("%s: %v\n%s", where, err, expr)
		}
		for metric := range metrics {
			if strings.Contains(expr, metric) {
				used[strings.TrimSuffix(metric, "_bucket")] = true
			}
		}
	}
	picture, err := os.ReadFile(pictureFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range readDashboard(t) {
		for _, query := range p.queries(5 * time.Second) {
			note("panel "+p.Title, query)
		}
		if !bytes.Contains(picture, []byte(">"+p.Title+"<")) {
			t.Errorf("%s does not have the panel %s", pictureFile, p.Title)
		}
	}
	for name, expr := range alerts(t) {
		note("alert "+name, expr)
	}
	// And the other way about: what there is to see is shown.
	for metric := range metrics {
		name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(metric, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "bestdns_") && !used[name] {
			t.Errorf("neither the dashboard nor a rule has %s", name)
		}
	}
	page, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range used {
		if name != "up" && !bytes.Contains(page, []byte("`"+name)) {
			t.Errorf("docs/monitoring.md does not have %s", name)
		}
	}
	for name := range alerts(t) {
		if !bytes.Contains(page, []byte(name)) {
			t.Errorf("docs/monitoring.md does not say what to do about %s", name)
		}
	}
	for _, name := range regexp.MustCompile(`bestdns_[a-z_]+`).FindAllString(string(page), -1) {
		if _, there := metrics[name]; !there && !used[name] {
			t.Errorf("docs/monitoring.md has %s, and the service has not", name)
		}
	}
}

// TestAlerts runs Prometheus' own unit tests of the rules.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool := harness.Debian(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", alertsFile}, {"test", "rules", alertTests}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tested, err := os.ReadFile(alertTests)
	if err != nil {
		t.Fatal(err)
	}
	for name := range alerts(t) {
		if !bytes.Contains(tested, []byte(`alertname="`+name+`"`)) {
			t.Errorf("%s has no test for %s", alertTests, name)
		}
	}
}

// TestDashboard lets a real Prometheus watch a service, and finds something in each
// panel of the dashboard.
func TestDashboard(t *testing.T) {
	t.Parallel()
	m := StartMonitored(t)
	prometheus := StartPrometheus(t, m)
	const duration, rate = 8 * time.Second, 4 * time.Second
	from := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	time.AfterFunc(duration*5/10, func() { m.PartnerFails.Store(true) })
	time.AfterFunc(duration*7/10, func() { m.PartnerFails.Store(false) })
	m.change(t, "web", "acme.example", api.Change{Append: []api.Record{harness.Text("_acme-challenge.crashed", strings.Repeat("x", 43))}})
	m.live(ctx, t)

	to := time.Now()
	for _, p := range readDashboard(t) {
		if !p.showsSomething(t, prometheus, rate, from, to) {
			t.Errorf("nothing is in %q", p.Title)
		}
	}
	checkRules(t, prometheus)
}

// checkRules finds all rules evaluated without an error, and those firing whose
// cause is there.
func checkRules(t *testing.T, prometheus string) {
	t.Helper()
	resp, err := http.Get(prometheus + "/api/v1/rules")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	states := make(map[string]string)
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("rule %s: %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			states[rule.Name] = rule.State
		}
	}
	got := make(map[string]string)
	for _, name := range []string{"BestDNSDown", "BestDNSUnhealthy", "BestDNSClientExpired", "BestDNSClientExpiresSoon", "BestDNSZoneNotQueried", "BestDNSChallengeLeft"} {
		got[name] = states[name]
	}
	want := map[string]string{
		"BestDNSDown": "inactive", "BestDNSUnhealthy": "inactive", "BestDNSClientExpired": "firing", "BestDNSClientExpiresSoon": "firing",
		"BestDNSZoneNotQueried": "inactive", "BestDNSChallengeLeft": "inactive",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
}
