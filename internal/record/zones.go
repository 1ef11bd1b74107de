package record

// Zones is a set of hosted zones, by apex.
type Zones map[Name]struct{}

// NewZones returns the set of the given zones.
func NewZones(apexes ...Name) Zones {
	z := make(Zones, len(apexes))
	for _, apex := range apexes {
		z[apex] = struct{}{}
	}
	return z
}

// Has reports whether apex is the apex of a zone of the set.
func (z Zones) Has(apex Name) bool {
	_, ok := z[apex]
	return ok
}

// Of returns the zone that holds name: the longest that name is in.
func (z Zones) Of(name Name) (apex Name, ok bool) {
	for name != "" {
		if z.Has(name) {
			return name, true
		}
		if name == Root {
			break
		}
		name = name.Parent()
	}
	return "", false
}
