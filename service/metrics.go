package service

import (
	"github.com/prometheus/client_golang/prometheus"
)

// What the built-in name server has counted, for Caddy's metrics. The counts live in
// the shared server, so that they go on across configurations; each configuration
// has a registry of its own in which they are shown.
var (
	queriesDesc = prometheus.NewDesc("bestdns_dns_queries_total",
		"DNS queries answered, by zone (empty for those outside of all), type (the rare ones as other) and response code.",
		[]string{"zone", "type", "rcode"}, nil)
	limitedDesc = prometheus.NewDesc("bestdns_dns_limited_total",
		"What the limits of the name server did: answers over the rate limit that were truncated or dropped, "+
			"TCP connections that were refused, or closed while idle to make room.",
		[]string{"limit", "action"}, nil)
)

// nameServerCollector shows the counts of an app's name server, once it has one.
type nameServerCollector struct{ app *App }

// Describe implements prometheus.Collector.
func (nameServerCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- queriesDesc
	descs <- limitedDesc
}

// Collect implements prometheus.Collector.
func (c nameServerCollector) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.app.ready:
	default:
		return
	}
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	server := c.app.shared
	for _, q := range server.QueryCounts() {
		count(queriesDesc, q.Queries, q.Zone.String(), q.Type, q.Rcode)
	}
	limits := server.LimitCounts()
	count(limitedDesc, limits.Truncated, "rate", "truncated")
	count(limitedDesc, limits.Dropped, "rate", "dropped")
	count(limitedDesc, limits.RefusedConnections, "connections", "refused")
	count(limitedDesc, limits.ClosedConnections, "connections", "closed")
}
