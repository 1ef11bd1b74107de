package protocol

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A naive reading of what the README says about zones and rights. It shares no code
// with the service: not the parsing of names, not the placing, not the look-ups. The
// test of package access has its like for the rights alone.

// labels is a name, leftmost label first, in lower case. The root has none.
type labels []string

func (l labels) in(suffix labels) bool {
	return len(l) >= len(suffix) && slices.Equal(l[len(l)-len(suffix):], suffix)
}

// slashed returns the labels each ended by a slash, which none of them contains.
func (l labels) slashed() string {
	if len(l) == 0 {
		return ""
	}
	return strings.Join(l, "/") + "/"
}

var escape = regexp.MustCompile(`\\[0-9]{3}|\\[^0-9]|[^\\]`)

// unescaped reads a name in presentation format, absolute or not.
func unescaped(text string) labels {
	if text == "." {
		return nil
	}
	if !strings.Contains(text, `\`) {
		return strings.Split(strings.TrimSuffix(text, "."), ".")
	}
	l := labels{""}
	for _, c := range escape.FindAllString(text, -1) {
		switch {
		case c == ".":
			l = append(l, "")
			continue
		case len(c) == 4:
			octet, _ := strconv.Atoi(c[1:])
			c = string([]byte{byte(octet)})
		case len(c) == 2:
			c = c[1:]
		}
		l[len(l)-1] += c
	}
	if l[len(l)-1] == "" {
		l = l[:len(l)-1]
	}
	return l
}

// naiveZone is a hosted zone.
type naiveZone struct {
	name     labels
	provider bool
	target   bool // of CNAMEs
}

// naiveRule is a right: a verb, and what follows it.
type naiveRule struct {
	verb  string
	under bool
	name  labels
	types []string
	// everywhere marks one of the rules that together are read all.
	everywhere bool
}

// meaning returns the rule in terms of names and types: persist is a right to one type at one name.
func (r naiveRule) meaning() naiveRule {
	if r.verb == "persist" {
		return naiveRule{verb: "allow", name: append(labels{"_validation-persist"}, r.name...), types: []string{"TXT"}}
	}
	return r
}

// naiveWorld is what a service hosts, and what one client may do.
type naiveWorld struct {
	zones []naiveZone
	rules []naiveRule
	// account is the one name at which an account may answer challenges, nil for others.
	account labels
}

// zoneOf returns the longest zone that holds a name, nil if none does.
func (w *naiveWorld) zoneOf(name labels) *naiveZone {
	var best *naiveZone
	for i, z := range w.zones {
		if name.in(z.name) && (best == nil || len(z.name) > len(best.name)) {
			best = &w.zones[i]
		}
	}
	return best
}

var (
	naiveHost      = `((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/){2,})$`
	naiveChallenge = regexp.MustCompile(`^(_[a-z2-7]{16}/)?_acme-challenge/` + naiveHost)
	naiveTarget    = regexp.MustCompile(`^(_[a-z2-7]{16}/)?` + naiveHost)
	naiveValue     = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	naiveHostName  = regexp.MustCompile(`^` + naiveHost)
)

// placed says to which zone a record goes, and under which name.
func (w *naiveWorld) placed(asked, owner labels, typ string) (*naiveZone, labels) {
	if z := w.zoneOf(owner); z != nil {
		apex := len(owner) == len(z.name)
		above := owner.in(asked) && len(asked) < len(owner)
		if apex && above && (typ == "NS" || typ == "DS" || typ == "") {
			if parent := w.zoneOf(owner[1:]); parent != nil {
				z = parent
			}
		}
		return z, owner
	}
	m := naiveChallenge.FindStringSubmatch(owner.slashed())
	if m == nil || typ != "TXT" || !w.certifies(splitSlashed(m[2])) {
		return nil, nil
	}
	for i, z := range w.zones {
		if target := append(splitSlashed(m[1]+m[2]), z.name...); z.target && w.zoneOf(target) == &w.zones[i] {
			return &w.zones[i], target
		}
	}
	return nil, nil
}

func splitSlashed(s string) labels {
	return strings.Split(strings.TrimSuffix(s, "/"), "/")
}

// certifies: is there a right to certificates for a domain?
func (w *naiveWorld) certifies(domain labels) bool {
	return slices.ContainsFunc(w.rules, func(r naiveRule) bool {
		if r.verb != "certificates" {
			return false
		}
		if r.under {
			return domain.in(r.name) && w.zoneOf(domain) == w.zoneOf(r.name)
		}
		return slices.Equal(domain, r.name)
	})
}

// challenge: can the answer to a challenge be there, for which there is a right?
func (w *naiveWorld) challenge(z *naiveZone, owner labels) bool {
	if w.account != nil {
		return slices.Equal(owner, w.account)
	}
	if m := naiveChallenge.FindStringSubmatch(owner.slashed()); m != nil && w.certifies(splitSlashed(m[2])) {
		return true
	}
	if !z.target {
		return false
	}
	m := naiveTarget.FindStringSubmatch(owner[:len(owner)-len(z.name)].slashed())
	return m != nil && w.certifies(splitSlashed(m[2]))
}

// allowed: is there a right to records of that type, "" for all types at once?
func (w *naiveWorld) allowed(z *naiveZone, owner labels, typ string) bool {
	one := func(typ string) bool {
		return slices.ContainsFunc(w.rules, func(r naiveRule) bool {
			r = r.meaning()
			switch {
			case r.verb != "allow", typ == "SOA":
				return false
			case typ == "any other":
				if len(r.types) > 0 {
					return false
				}
			case typ == "NS" && slices.Equal(owner, z.name):
				return !r.under && slices.Equal(owner, r.name) && slices.Contains(r.types, "NS")
			case len(r.types) > 0 && !slices.Contains(r.types, typ):
				return false
			}
			if r.under {
				return owner.in(r.name) && w.zoneOf(r.name) == z
			}
			return slices.Equal(owner, r.name)
		})
	}
	if typ == "" {
		return one("any other") // which spares the NS of the apex
	}
	return one(typ)
}

// may: is there a right to one record of a change? text is what a TXT record says,
// nil in a delete that leaves it open.
func (w *naiveWorld) may(kind string, z *naiveZone, owner labels, typ string, text *string) bool {
	if kind != "set" && typ == "TXT" && text != nil && naiveValue.MatchString(*text) && w.challenge(z, owner) {
		return true
	}
	return w.allowed(z, owner, typ)
}

// reads: may the client see what is at a name?
func (w *naiveWorld) reads(z *naiveZone, owner labels) bool {
	if w.challenge(z, owner) {
		return true
	}
	return slices.ContainsFunc(w.rules, func(r naiveRule) bool {
		r = r.meaning()
		alone := naiveWorld{zones: w.zones, rules: []naiveRule{r}}
		if r.verb == "read" {
			alone.rules[0].verb = "allow"
		}
		for _, typ := range append([]string{"any other"}, r.types...) {
			if alone.allowed(alone.zoneOf(z.name), owner, typ) {
				return true
			}
		}
		return false
	})
}
