package nameserver

import (
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// A replacement of all records is an append to a zone that has been cleared. It is no
// kind of [record.Change]: those say what happens at the names that they give, and work
// is bounded by these.

// cleared is a zone as it is after [draft.clear].
type cleared struct{ *Snapshot }

// At returns the records that stay.
func (z cleared) At(name record.Name) []record.Record {
	return slices.DeleteFunc(z.Snapshot.At(name), z.isReplaceable)
}

func (z *Snapshot) isReplaceable(r record.Record) bool {
	return r.Expires == 0 && !z.Made(r.Name, r.Type)
}

// clear takes out all records that are replaced.
func (d *draft) clear() {
	var keys []string
	d.next.tree.Scan(func(key string, _ node) bool {
		// The tree's keys may be parts of larger strings; this outlives the scan.
		keys = append(keys, strings.Clone(key))
		return true
	})
	for _, key := range keys {
		d.edit(key, func(r *record.Record) bool { return !d.next.isReplaceable(*r) })
	}
}
