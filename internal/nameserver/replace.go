package nameserver

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Replace makes the given records the only ones of a zone, in one commit, beside
// those that the server makes itself and those that expire: they are challenges
// that a client is waiting for, and stay beside records of the same name and type. It fails as [Server.Apply] does.
func (s *Server) Replace(ctx context.Context, zone record.Name, records []record.Record) (Result, error) {
	var used *draft
	// Over a zone in which nothing else is left, an append is a set that clears no RRset
	// with a challenge in it.
	change := record.Change{Op: record.Append, Records: records}
	plan := func(b *batch) error {
		d, err := b.known(zone)
		if err != nil {
			return err
		}
		effect, err := record.Plan(emptied{d.next}, change)
		if err != nil {
			return err
		}
		d.replace(effect.Nodes)
		used = d
		return nil
	}
	err := checkNames(zone, change)
	if err == nil {
		err = s.Load()
	}
	if err == nil {
		err = s.submit(ctx, &job{plan: plan})
	}
	if err != nil {
		return Result{}, fmt.Errorf("replacing the records of zone %q: %w", zone, err)
	}
	return Result{Records: records, Serial: used.next.serial}, nil
}

// emptied is a zone as it is when all that may be replaced is gone.
type emptied struct{ *Snapshot }

// At returns the records that stay.
func (z emptied) At(name record.Name) []record.Record {
	return z.staying(z.Snapshot.At(name))
}

func (z *Snapshot) staying(records []record.Record) []record.Record {
	var stay []record.Record
	for _, r := range records {
		if r.Expires != 0 || z.Made(r.Name, r.Type) {
			stay = append(stay, r)
		}
	}
	return stay
}

// replace sets the given nodes and empties all others.
func (d *draft) replace(nodes []record.Node) {
	kept := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		kept[n.Name.Key()] = true
	}
	var others []string
	d.next.tree.Scan(func(key string, _ node) bool {
		if !kept[key] {
			// The tree's keys may be parts of larger strings; this outlives the scan.
			others = append(others, strings.Clone(key))
		}
		return true
	})
	for _, key := range others {
		n, _ := d.next.tree.Get(key)
		d.put(key, packNode(d.next.staying(n.appendRecords(nil, record.NameFromKey(key)))))
	}
	keys := make([]string, len(nodes))
	for i := range nodes {
		keys[i] = nodes[i].Name.Key()
	}
	d.apply(nodes, keys)
}
