package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/nameserver"
	"github.com/caddy-dns/bestdns/internal/record"
)

// What the process and its name server have counted, for Caddy's metrics. The counts
// live outside of configurations, so that they go on across reloads; each
// configuration has a registry of its own in which they are shown, for the zones and
// clients that it has.
var (
	queriesDesc = desc("bestdns_dns_queries_total",
		"DNS queries answered, by zone (empty for those outside of all), type (the rare ones as other) and response code.",
		"zone", "type", "rcode")
	limitedDesc = desc("bestdns_dns_limited_total",
		"What the limits of the name server did: answers over the rate limit that were truncated or dropped, "+
			"TCP connections that were refused, or closed while idle to make room.",
		"limit", "action")

	socketErrorsDesc = desc("bestdns_dns_socket_errors_total",
		"Failures to read the queries that come to an address, each of which was tried again. Errors about one message do not count.",
		"address")

	healthyDesc = desc("bestdns_healthy",
		"1 if the service can do its work, as GET /v1/health tells; 0 if the name server is not up, one of its sockets cannot be read, or its store cannot be written.")
	changesDesc = desc("bestdns_changes_total",
		"Changes of records, by zone (empty for those that were for no hosted one) and outcome: changed, refused "+
			"(because of the caller), failed (because of the service or the zone's DNS provider).",
		"zone", "outcome")
	durationDesc = desc("bestdns_change_duration_seconds",
		"Time from a change's arrival until it was on disk and in DNS, or its zone's DNS provider had made it.", "zone")
	providerDesc = desc("bestdns_provider_errors_total",
		"Failures of the DNS providers of zones: failed (an answer that is an error), timeout, unreachable.", "zone", "kind")
	waitsDesc = desc("bestdns_change_waits_total",
		"Changes by how the wait for the zone's name servers had ended when they were answered: served (all do), silent (all but some that do not answer), "+
			"pending (some that answer do not yet), unknown (did not wait, since the name servers were not found).", "zone", "outcome")
	waitDesc = desc("bestdns_change_wait_seconds",
		"Time from the end of a change until all name servers of its zone served it, of those that were answered then.", "zone")
	deniedDesc = desc("bestdns_denied_requests_total",
		"Requests that were not let in: no_token, wrong_token, throttled (after too many wrong tokens from one address), "+
			"unknown_certificate, expired, network (a client outside of its networks), busy (a client with more under way than it may have at once), "+
			"no_right (a read or a registration outside of the client's rights).", "reason")

	overLimitDesc = desc("bestdns_over_limit_total",
		"Changes refused at a limit of room, or for too much at their names (change-bytes), by the limit: client-records, client-bytes, zone-records, "+
			"zone-bytes, name-types, name-bytes, rrset-records, domain-challenges, change-bytes.", "limit")
	clientRecordsDesc = desc("bestdns_client_records",
		"Records in the built-in zones that a client has written and that are there still. Absent for one that has none.", "client")
	clientBytesDesc = desc("bestdns_client_bytes",
		"Bytes of these records in wire form, each with its owner name in full. Absent for a client that has none.", "client")

	recordsDesc = desc("bestdns_records",
		"Records in a built-in zone, those that the name server makes included.", "zone")
	challengesDesc = desc("bestdns_challenge_records",
		"Records of challenges in a built-in zone: what was written under a certificates right and is not yet removed.", "zone")
	oldestDesc = desc("bestdns_oldest_challenge_timestamp_seconds",
		"When the oldest of a built-in zone's challenges was written, as Unix time; if that was before the process started, when it started. Absent without any.", "zone")

	expiresDesc = desc("bestdns_client_expires_timestamp_seconds",
		"When a client's access ends or has ended, as Unix time. Absent for one whose access does not end.", "client")
	lastUsedDesc = desc("bestdns_client_last_used_timestamp_seconds",
		"When a client was last let in, as Unix time. Absent for one that was not since the process started.", "client")
)

// descs are all of them.
var descs []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// collector shows what there is to know about an app.
type collector struct{ app *App }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.app.hosting.Closed():
		// Caddy's admin endpoint keeps the registry of a configuration that it has refused.
		c.app = liveApps.newest(c.app)
	default:
	}
	out := exposition{metrics}
	healthy := 0.0
	if c.app.health() == nil {
		healthy = 1
	}
	out.gauge(healthyDesc, healthy)
	c.collectActivity(out)
	c.collectClients(out)
	if server := c.app.hosting.NameServer(); server != nil {
		c.collectQueries(out, server)
		c.collectSockets(out)
		c.collectContents(out, server)
	}
}

func (c collector) collectQueries(out exposition, server *nameserver.Server) {
	asked := make(map[record.Name]bool)
	for _, q := range server.QueryCounts() {
		out.count(queriesDesc, q.Queries, q.Zone.String(), q.Type, q.Rcode)
		if q.Type == "TXT" && q.Rcode == "NOERROR" {
			asked[q.Zone] = true
		}
	}
	// A counter that begins with its first query has no increase then, and a zone that
	// no one asks about is what one wants to be told of.
	for _, zone := range c.app.hosting.Zones() {
		if zone.Builtin() && !asked[zone.Apex] {
			out.count(queriesDesc, 0, zone.Apex.String(), "TXT", "NOERROR")
		}
	}
	limits := server.LimitCounts()
	out.count(limitedDesc, limits.Truncated, "rate", "truncated")
	out.count(limitedDesc, limits.Dropped, "rate", "dropped")
	out.count(limitedDesc, limits.RefusedConnections, "connections", "refused")
	out.count(limitedDesc, limits.ClosedConnections, "connections", "closed")
}

func (c collector) collectSockets(out exposition) {
	shown := make(map[string]bool)
	for _, address := range c.app.listen {
		label := socketLabel(address)
		if !shown[label] { // Prometheus refuses all where a series is given twice
			shown[label] = true
			out.count(socketErrorsDesc, openSockets.errors(label), label)
		}
	}
}

func (c collector) collectContents(out exposition, server *nameserver.Server) {
	uses := server.Uses()
	for client := range c.app.hosting.Clients().All() {
		if used, ok := uses[client.Name()]; ok {
			out.gauge(clientRecordsDesc, float64(used.Records), client.Name())
			out.gauge(clientBytesDesc, float64(used.Bytes), client.Name())
		}
	}
	for _, contents := range server.Contents() {
		zone := c.app.hosting.Zone(contents.Zone)
		if zone == nil || !zone.Builtin() {
			continue // the store remembers what a configuration had once
		}
		out.gauge(recordsDesc, float64(contents.Records), contents.Zone.String())
		out.gauge(challengesDesc, float64(contents.Expiring), contents.Zone.String())
		if !contents.Oldest.IsZero() {
			out.gauge(oldestDesc, float64(contents.Oldest.Unix()), contents.Zone.String())
		}
	}
}

func (c collector) collectActivity(out exposition) {
	counts := activity.Counts()
	out.count(changesDesc, counts.Refused, "", hosting.Refused.String())
	for _, zone := range c.app.hosting.Zones() {
		apex := zone.Apex
		z := counts.Zones[apex] // zero before its first change: a counter that begins at 1 has no increase
		for i, n := range z.Verdicts {
			out.count(changesDesc, n, apex.String(), hosting.Verdict(i).String())
		}
		if z.Took.N > 0 {
			out.histogram(durationDesc, &z.Took, apex)
		}
		if zone.Waits() {
			for i, n := range z.Waits {
				out.count(waitsDesc, n, apex.String(), hosting.WaitLabels[i])
			}
			if z.Waited.N > 0 {
				out.histogram(waitDesc, &z.Waited, apex)
			}
		}
		if zone.Builtin() {
			continue
		}
		for i, n := range z.ProviderErrors {
			out.count(providerDesc, n, apex.String(), hosting.ProviderErrorLabels[i])
		}
	}
	for i, n := range counts.OverLimit {
		out.count(overLimitDesc, n, string(hosting.LimitNames[i]))
	}
	for i, n := range counts.Denied {
		out.count(deniedDesc, n, hosting.DenialLabels[i])
	}
}

func (c collector) collectClients(out exposition) {
	for client := range c.app.hosting.Clients().All() {
		if end := client.Expires(); !end.IsZero() {
			out.gauge(expiresDesc, float64(end.Unix()), client.Name())
		}
		if used := activity.LastUse(client.Name()); !used.IsZero() {
			out.gauge(lastUsedDesc, float64(used.UnixMilli())/1000, client.Name())
		}
	}
}

// exposition takes the metrics of one scrape.
type exposition struct{ metrics chan<- prometheus.Metric }

func (e exposition) count(desc *prometheus.Desc, n uint64, labels ...string) {
	e.metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func (e exposition) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	e.metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (e exposition) histogram(desc *prometheus.Desc, l *hosting.Latency, zone record.Name) {
	e.metrics <- prometheus.MustNewConstHistogram(desc, l.N, l.Sum, l.Cumulative(), zone.String())
}
