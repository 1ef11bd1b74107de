package protocol

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/libdns/libdns"
)

// zonesProvider is a DNS provider that keeps the records of several zones, and notes
// what no provider should ever get.
type zonesProvider struct {
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
	p.records[zone] = append(p.records[zone], records...)
	return records, nil
}

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

func (p *zonesProvider) DeleteRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(records)
	p.records[zone] = slices.DeleteFunc(p.records[zone], func(old libdns.Record) bool {
		return slices.ContainsFunc(records, func(r libdns.Record) bool { return r.RR() == old.RR() })
	})
	return records, nil
}
