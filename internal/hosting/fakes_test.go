package hosting

import (
	"context"
	"slices"
	"sync"

	"github.com/libdns/libdns"
)

// mergingProvider is a DNS provider such as most with an HTTP API are: it reads an
// RRset, and later writes it whole.
type mergingProvider struct {
	between func() // reading and writing

	mu     sync.Mutex
	rrsets map[rrsetKey][]libdns.Record
	calls  int // under way
	most   int // calls that were under way at the same time
}

type rrsetKey struct{ zone, name, typ string }

func newMergingProvider(between func()) *mergingProvider {
	return &mergingProvider{between: between, rrsets: make(map[rrsetKey][]libdns.Record)}
}

// begin counts a call until it ends.
func (p *mergingProvider) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.most = max(p.most, p.calls)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls--
	}
}

// merge has each record merged into its RRset.
func (p *mergingProvider) merge(zone string, records []libdns.Record, into func(set []libdns.Record, r libdns.Record) []libdns.Record) {
	defer p.begin()()
	for _, r := range records {
		key := rrsetKey{zone, r.RR().Name, r.RR().Type}
		p.mu.Lock()
		read := slices.Clone(p.rrsets[key])
		p.mu.Unlock()
		p.between()
		p.mu.Lock()
		if p.rrsets[key] = into(read, r); len(p.rrsets[key]) == 0 {
			delete(p.rrsets, key)
		}
		p.mu.Unlock()
	}
}

func (p *mergingProvider) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	defer p.begin()()
	p.between()
	p.mu.Lock()
	defer p.mu.Unlock()
	var records []libdns.Record
	for key, set := range p.rrsets {
		if key.zone == zone {
			records = append(records, set...)
		}
	}
	return records, nil
}

func (p *mergingProvider) AppendRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.merge(zone, records, func(set []libdns.Record, r libdns.Record) []libdns.Record { return append(set, r) })
	return records, nil
}

func (p *mergingProvider) DeleteRecords(_ context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	p.merge(zone, records, func(set []libdns.Record, r libdns.Record) []libdns.Record {
		return slices.DeleteFunc(set, func(old libdns.Record) bool { return old.RR() == r.RR() })
	})
	return records, nil
}

// scriptedProvider does in each call what the test that runs says.
type scriptedProvider struct {
	get    func(ctx context.Context) ([]libdns.Record, error)
	change func(ctx context.Context) ([]libdns.Record, error)
}

func (p *scriptedProvider) GetRecords(ctx context.Context, _ string) ([]libdns.Record, error) {
	return p.get(ctx)
}

func (p *scriptedProvider) AppendRecords(ctx context.Context, _ string, _ []libdns.Record) ([]libdns.Record, error) {
	return p.change(ctx)
}

func (p *scriptedProvider) DeleteRecords(ctx context.Context, _ string, _ []libdns.Record) ([]libdns.Record, error) {
	return p.change(ctx)
}
