package nameserver

import (
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// A wildcard answers for names that do not exist, and so a record takes its name from the
// wildcard, and the names above that exist only because of it (RFC 4592 §2.2.2, §3.3.1).

// HasWildcards reports whether there is a wildcard in the zone.
func (z *Snapshot) HasWildcards() bool { return z.wildcards > 0 }

// WildcardAbove returns the nearest wildcard of the zone whose parent is above a name, or
// "" without one.
func (z *Snapshot) WildcardAbove(name record.Name) record.Name {
	key := name.Key()
	wild := make([]byte, 0, len(key)+2)
	for end := len(key); end > len(z.key); {
		end = strings.LastIndexByte(key[:end-1], 0) + 1 // that of the name above
		wild = append(append(wild[:0], key[:end]...), '*', 0)
		if borrow(wild) == key {
			continue // itself
		}
		if _, ok := z.tree.Get(borrow(wild)); ok {
			return record.NameFromKey(string(wild))
		}
	}
	return ""
}

// Silenced returns the topmost name that a new record takes from a wildcard, and the
// wildcard; "" if it takes none, because the name exists already or no wildcard stands for it.
func (z *Snapshot) Silenced(owner record.Name) (host, wildcard record.Name) {
	if !owner.In(z.zone) || owner == z.zone {
		return "", ""
	}
	key := owner.Key()
	after, before := z.tree.after(key), z.tree.before(key)
	if strings.HasPrefix(after, key) {
		return "", "" // it exists, if only without records
	}
	encloser := max(sharedLabels([]byte(key), after), sharedLabels([]byte(key), before))
	above := record.NameFromKey(key[:encloser])
	wildcard, err := above.Child("*")
	if err != nil || wildcard == owner {
		return "", ""
	}
	if _, ok := z.tree.Get(wildcard.Key()); !ok {
		return "", ""
	}
	for host = owner; host.Parent() != above; {
		host = host.Parent()
	}
	return host, wildcard
}
