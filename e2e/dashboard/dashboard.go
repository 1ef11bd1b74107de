// Package dashboard draws the Grafana dashboard of docs/monitoring from a Prometheus,
// without Grafana: the same queries at the same places, as one SVG. It knows what that
// dashboard uses of Grafana's format and no more.
package dashboard

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// Dashboard is a dashboard as Grafana has it.
type Dashboard struct {
	Title  string  `json:"title"`
	Panels []Panel `json:"panels"`
}

// Panel is one rectangle of it.
type Panel struct {
	Title   string   `json:"title"`
	Type    string   `json:"type"` // stat, timeseries or table
	Targets []Target `json:"targets"`
	// GridPos is in units of 1/24 of the width, and of 30 pixels.
	GridPos struct {
		H, W, X, Y int
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit       string `json:"unit"`
			Decimals   *int   `json:"decimals"`
			Thresholds struct {
				Steps []Step `json:"steps"`
			} `json:"thresholds"`
			Custom struct {
				Stacking struct {
					Mode string `json:"mode"`
				} `json:"stacking"`
			} `json:"custom"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

// Step is the colour from a value on; the first has none.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Target is a query.
type Target struct {
	Expr   string `json:"expr"`
	Legend string `json:"legendFormat"`
}

// Read reads a dashboard from a file.
func Read(path string) (*Dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := new(Dashboard)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", path, err)
	}
	return d, nil
}

// PromQL returns the query with a value for each of Grafana's variables: all zones, all
// instances, and the interval over which rates are taken.
func (t Target) PromQL(rate time.Duration) string {
	return strings.NewReplacer(
		"$__rate_interval", fmt.Sprintf("%ds", int(rate.Seconds())),
		"$instance", ".*",
		"$zone", ".+",
	).Replace(t.Expr)
}
