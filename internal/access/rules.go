// Package access holds the clients of the service and what each of them may do:
// the grammar of a right, the rights compiled into look-ups, token digests,
// expiry and source networks. It knows no HTTP and no configuration format.
//
// Rights are a union: nothing takes away what another right gives, their order
// means nothing, and what no right gives is refused. All of the package's values
// are immutable once made and safe for concurrent use.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Verb is the kind of a right.
type Verb uint8

// The verbs of the configuration.
const (
	// Certificates is what DNS-01 for a domain needs and nothing else.
	Certificates Verb = iota + 1
	// Allow is writing, and reading what is at the name.
	Allow
	// Read is reading alone.
	Read
)

// String returns the verb as the configuration spells it.
func (v Verb) String() string {
	switch v {
	case Certificates:
		return "certificates"
	case Allow:
		return "allow"
	case Read:
		return "read"
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// Rule is one right, as written.
type Rule struct {
	Verb Verb
	// Under extends the right to all names below Name, as far as the hosted zone
	// of Name reaches.
	Under bool
	// Name is a domain under Certificates (never with a leading "*", which means
	// the same right), an owner name under the other verbs.
	Name record.Name
	// Types are those that Allow is bound to. Empty: all, but for a zone's SOA
	// and the NS records at its apex.
	Types []record.Type
}

// under is the one keyword of the grammar. A name of that single label is
// written with its final dot.
const under = "under"

// ParseRule reads what stands behind a verb: "[under] NAME [TYPE…]", separated
// by blanks. The name is absolute, its final dot optional, and internationalized
// labels are A-labels already.
func ParseRule(verb Verb, text string) (Rule, error) {
	rule := Rule{Verb: verb}
	words := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(words) > 0 && words[0] == under {
		rule.Under = true
		words = words[1:]
	}
	if len(words) == 0 {
		return Rule{}, fmt.Errorf("right %q: the name is missing; it is written %s [%s] NAME", quotable(verb, text), verb, under)
	}
	name := words[0]
	if verb == Certificates {
		// The challenge of *.D is answered at the same name as that of D.
		name = strings.TrimPrefix(name, "*.")
	}
	var err error
	if rule.Name, err = record.ParseName(name); err != nil {
		return Rule{}, fmt.Errorf("right %q: %w", quotable(verb, text), err)
	}
	for _, word := range words[1:] {
		t, err := record.ParseType(word)
		if err != nil && strings.Contains(word, ".") {
			err = fmt.Errorf("%w, and a further name needs a right of its own", err)
		}
		if err != nil {
			return Rule{}, fmt.Errorf("right %q: %w", quotable(verb, text), err)
		}
		rule.Types = append(rule.Types, t)
	}
	if err := rule.check(); err != nil {
		return Rule{}, fmt.Errorf("right %q: %w", quotable(verb, text), err)
	}
	return rule, nil
}

// quotable is a right for an error message, which a long one must not drown.
func quotable(verb Verb, text string) string {
	const most = 120
	if len(text) > most {
		text = text[:most] + "…"
	}
	return verb.String() + " " + text
}

// check tells what is wrong with a rule, however it was made.
func (r Rule) check() error {
	if r.Name == "" {
		return errors.New("it has no name")
	}
	switch r.Verb {
	case Certificates:
		return r.checkDomain()
	case Allow:
		return r.checkTypes()
	case Read:
		if len(r.Types) > 0 {
			return errors.New("read takes no types: who may read at a name reads all types there")
		}
		return nil
	}
	return fmt.Errorf("unknown %s", r.Verb)
}

func (r Rule) checkDomain() error {
	if len(r.Types) > 0 {
		return errors.New("certificates takes no types: it is about the TXT records of ACME challenges alone; other types need allow")
	}
	if !r.Name.IsHostName() {
		return errors.New("certificates needs a domain of two labels or more, of letters, digits and hyphens")
	}
	if r.Name.IsIPv4() {
		return errors.New("certificates needs a domain: no CA validates an address by DNS-01")
	}
	if _, err := (record.Challenge{Domain: r.Name}).Owner(); err != nil {
		return fmt.Errorf("no CA can validate the domain by DNS-01: %w", err)
	}
	return nil
}

func (r Rule) checkTypes() error {
	for i, t := range r.Types {
		switch {
		case t == record.TypeSOA:
			return errors.New("no right covers an SOA record: the server makes it")
		case t == 0:
			return errors.New("a type is missing; leave all types out to allow any")
		case slices.Contains(r.Types[:i], t):
			return fmt.Errorf("type %s stands there twice", t)
		}
	}
	return nil
}

// String returns the rule in the grammar of the configuration, verb first and
// the name without its final dot: "allow under example.org A AAAA".
func (r Rule) String() string {
	var text strings.Builder
	text.WriteString(r.Verb.String())
	if r.Under {
		text.WriteString(" " + under)
	}
	text.WriteString(" " + r.nameText())
	for _, t := range r.Types {
		text.WriteString(" " + t.String())
	}
	return text.String()
}

// nameText returns the name as users write it, in a form that ParseRule takes
// for nothing else.
func (r Rule) nameText() string {
	absolute := r.Name.String()
	text := strings.TrimSuffix(absolute, ".")
	if text == "" || text == under {
		return absolute
	}
	return text
}
