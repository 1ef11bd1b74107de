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
	"strings"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Rule is one right, as written.
type Rule struct {
	Verb Verb
	// Under extends the right to all names below Name, as far as the hosted zone
	// of Name reaches.
	Under bool
	// Name is a domain under Certificates (never with a leading "*", which means
	// the same right), an owner name under Allow and Read, "" under Watch and with All.
	Name record.Name
	// All extends Read to all hosted zones.
	All bool
	// Types are those that Allow is bound to. Empty: all, but for a zone's SOA
	// and the NS records at its apex.
	Types []record.Type
}

// The keywords of the grammar. A name of such a single label is written with its final dot.
const (
	under = "under"
	all   = "all"
)

// ParseRight reads a right, verb first, as [Rule.String] writes it.
func ParseRight(text string) (Rule, error) {
	spelling, arguments, _ := strings.Cut(text, " ")
	verb, ok := ParseVerb(spelling)
	if !ok {
		return Rule{}, fmt.Errorf("right %q: unknown", text)
	}
	return ParseRule(verb, arguments)
}

// ParseRule reads what follows a verb: "[under] NAME [TYPE…]", separated
// by blanks, or "all", or nothing. The name is absolute, its final dot optional, and
// internationalized labels are A-labels already.
func ParseRule(verb Verb, text string) (Rule, error) {
	rule := Rule{Verb: verb}
	err := rule.parse(strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' }))
	if err == nil {
		err = rule.check()
	}
	if err != nil {
		return Rule{}, fmt.Errorf("right %q: %w", quotable(verb, text), err)
	}
	return rule, nil
}

// parse reads the words after the verb. Whether the verb takes them is for check.
func (r *Rule) parse(words []string) error {
	if len(words) > 0 && words[0] == under {
		r.Under = true
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	name := words[0]
	if name == all {
		r.All, words = true, words[1:]
		if len(words) > 0 {
			return errors.New("nothing follows all; a name of that label alone is written \"all.\"")
		}
		return nil
	}
	if r.Verb == Certificates {
		// The challenge of *.D is answered at the same name as that of D.
		name = strings.TrimPrefix(name, "*.")
	}
	var err error
	if r.Name, err = record.ParseName(name); err != nil {
		return err
	}
	for _, word := range words[1:] {
		t, err := record.ParseType(word)
		if err != nil && strings.Contains(word, ".") {
			err = fmt.Errorf("%w, and a further name needs a right of its own", err)
		}
		if err != nil {
			return err
		}
		r.Types = append(r.Types, t)
	}
	return nil
}

// quotable is a right for an error message, which a long one must not drown.
func quotable(verb Verb, text string) string {
	const most = 120
	if len(text) > most {
		text = text[:most] + "…"
	}
	return verb.String() + " " + text
}

// check returns what is wrong with a rule, however it was made.
func (r Rule) check() error {
	k, ok := r.Verb.kind()
	switch {
	case !ok:
		return fmt.Errorf("unknown %s", r.Verb)
	case r.All && r.Verb != Read:
		return fmt.Errorf("only read can be for all; it is written %s %s, and a name of that label alone \"all.\"", r.Verb, k.arguments)
	case r.All && (r.Name != "" || r.Under):
		return errors.New("read all takes no name: it is about all zones")
	case r.Name == "" && k.arguments != "" && !r.All:
		return fmt.Errorf("the name is missing; it is written %s %s", r.Verb, k.arguments)
	}
	return k.check(r)
}

// String returns the rule in the grammar of the configuration, verb first and
// the name without its final dot: "allow under example.org A AAAA".
func (r Rule) String() string {
	var text strings.Builder
	text.WriteString(r.Verb.String())
	if r.Under {
		text.WriteString(" " + under)
	}
	if r.Name != "" {
		text.WriteString(" " + r.nameText())
	}
	if r.All {
		text.WriteString(" " + all)
	}
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
	if text == "" || text == under || text == all {
		return absolute
	}
	return text
}
