package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Prometheus is the URL of one.
type Prometheus string

// Series is what a query returned under one set of labels.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time.
type Point struct {
	At    time.Time
	Value float64
}

// UnmarshalJSON reads Prometheus' [seconds, "value"].
func (p *Point) UnmarshalJSON(text []byte) error {
	var seconds float64
	var value string
	if err := json.Unmarshal(text, &[]any{&seconds, &value}); err != nil {
		return err
	}
	var err error
	p.At = time.UnixMilli(int64(seconds * 1000))
	p.Value, err = strconv.ParseFloat(value, 64)
	return err
}

var placeholder = regexp.MustCompile(`\{\{[a-z_]+\}\}`)

// Last returns the newest value.
func (s Series) Last() float64 { return s.Points[len(s.Points)-1].Value }

// Name fills in Grafana's legend format: {{label}}.
func (s Series) Name(format string) string {
	for label, value := range s.Labels {
		format = strings.ReplaceAll(format, "{{"+label+"}}", value)
	}
	format = placeholder.ReplaceAllString(format, "") // a label without a value is no label
	if format = strings.TrimSpace(format); format == "" {
		return "(none)"
	}
	return format
}

// Range asks for the values between two times.
func (p Prometheus) Range(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	return p.query(ctx, "query_range", url.Values{
		"query": {expr},
		"start": {strconv.FormatInt(from.Unix(), 10)},
		"end":   {strconv.FormatInt(to.Unix(), 10)},
		"step":  {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

// At asks for the values at one time.
func (p Prometheus) At(ctx context.Context, expr string, at time.Time) ([]Series, error) {
	return p.query(ctx, "query", url.Values{"query": {expr}, "time": {strconv.FormatInt(at.Unix(), 10)}})
}

func (p Prometheus) query(ctx context.Context, call string, form url.Values) ([]Series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(p)+"/api/v1/"+call+"?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  *Point            `json:"value"`
				Values []Point           `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("query %s: %s: %w", form.Get("query"), resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("query %s: %s", form.Get("query"), answer.Error)
	}
	var list []Series
	for _, r := range answer.Data.Result {
		if r.Value != nil {
			r.Values = []Point{*r.Value}
		}
		list = append(list, Series{Labels: r.Metric, Points: r.Values})
	}
	if call == "query_range" { // whose order is none
		slices.SortFunc(list, func(a, b Series) int { return strings.Compare(sortKey(a), sortKey(b)) })
	}
	return list, nil
}

func sortKey(s Series) string {
	var key strings.Builder
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		key.WriteString(s.Labels[label] + "\x00")
	}
	return key.String()
}
