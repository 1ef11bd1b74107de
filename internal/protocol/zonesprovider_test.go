package protocol

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libdns/libdns"
)

// zonesProvider is a DNS provider that keeps the records of several zones, and notes
// what no provider should ever get.
type zonesProvider struct {
	// leastTTL is what it raises lower TTLs to.
	leastTTL time.Duration

	mu      sync.Mutex
	records map[string][]libdns.Record
	odd     []string
}

var (
	plainName = regexp.MustCompile(`^(?:@|[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*)$`)
	plainData = regexp.MustCompile(`^[ -~]+$`) // to libdns, no data are any
)

func (p *zonesProvider) look(records []libdns.Record) {
	for _, r := range records {
		rr := r.RR()
		if !plainName.MatchString(rr.Name) || !plainData.MatchString(rr.Data) || strings.ContainsAny(rr.Data, `"\`) {
			p.odd = append(p.odd, fmt.Sprintf("%+v", rr))
		}
	}
}

func (p *zonesProvider) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.records[zone]), nil
}

func (p *zonesProvider) AppendRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(records)
	for _, r := range records {
		rr := r.RR()
		if !slices.ContainsFunc(p.records[zone], func(old libdns.Record) bool { return isSame(rr, old.RR()) }) {
			rr.TTL = max(rr.TTL, p.leastTTL)
			p.records[zone] = append(p.records[zone], rr)
		}
	}
	return records, nil
}

func isSame(a, b libdns.RR) bool { return a.Name == b.Name && a.Type == b.Type && a.Data == b.Data }

func (p *zonesProvider) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	p.records[zone] = slices.DeleteFunc(p.records[zone], func(old libdns.Record) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool {
			return r.RR().Name == old.RR().Name && r.RR().Type == old.RR().Type
		})
	})
	p.mu.Unlock()
	return p.AppendRecords(ctx, zone, records)
}

// DeleteRecords goes by the TTL too, if there is one.
func (p *zonesProvider) DeleteRecords(_ context.Context, zone string, records []libdns.Record) (deleted []libdns.Record, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(records)
	p.records[zone] = slices.DeleteFunc(p.records[zone], func(old libdns.Record) bool {
		takes := slices.ContainsFunc(records, func(r libdns.Record) bool {
			return isSame(r.RR(), old.RR()) && (r.RR().TTL == 0 || r.RR().TTL == old.RR().TTL)
		})
		if takes {
			deleted = append(deleted, old)
		}
		return takes
	})
	return deleted, nil
}
