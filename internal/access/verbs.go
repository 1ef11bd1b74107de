package access

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/caddy-dns/bestdns/internal/record"
)

// Verb is the kind of a right. A right of one kind never implies one of another.
type Verb uint8

// The verbs, in the order in which they are listed everywhere.
const (
	// Certificates is what DNS-01 for a domain needs and nothing else.
	Certificates Verb = iota + 1
	// Allow is writing, and reading what is at the name.
	Allow
	// Read is reading alone.
	Read
	// Watch is seeing the whole service on the page, and no record's data there or elsewhere.
	Watch
	// Register is making accounts, each of which may answer challenges at a name of its own
	// below that of the right.
	Register
	// Persist is the standing permission of dns-persist-01 for a domain: whose account it is that
	// may obtain certificates for it from then on, without a challenge.
	Persist
)

// kind is all that differs from one verb to another.
type kind struct {
	// spelling is the verb in the configuration, of a flag and in the API's answers.
	spelling string
	// arguments are what follows the verb; "" if it takes none.
	arguments string
	// help is what a user is told about it, without a final dot.
	help string
	// check returns what is wrong with a rule, other than a missing name.
	check func(Rule) error
	// add makes a client have the right. Together with the decisions that look at what
	// it adds (rights.go), it is the meaning of the verb.
	add func(*rights, Rule)
	// zones returns the hosted zones in which a rule gives a right. It is nil for a verb
	// that is not about zones.
	zones func(*hosting, Rule) []record.Name
}

// kinds has all verbs. A new one needs an entry here, its meaning in rights.go, and the
// field in which the configuration has it.
var kinds = [...]kind{
	Certificates: {
		spelling:  "certificates",
		arguments: "[under] DOMAIN",
		help:      "A domain for which the client may obtain certificates, wildcards included",
		check:     checkDomain,
		add:       (*rights).addDomain,
		zones:     (*hosting).challengeZones,
	},
	Allow: {
		spelling:  "allow",
		arguments: "[under] NAME [TYPE…]",
		help:      "A name at which the client may change records",
		check:     checkTypes,
		add:       (*rights).addAllow,
		zones:     (*hosting).nameZones,
	},
	Read: {
		spelling:  "read",
		arguments: "[under] NAME, or all",
		help:      "A name at which the client may read records",
		check:     checkNoTypes,
		add:       (*rights).addRead,
		zones:     (*hosting).readZones,
	},
	Watch: {
		spelling: "watch",
		help:     "Let the client see the whole service on the page, and read or change nothing",
		check:    checkAlone,
		add:      (*rights).addWatch,
	},
	Register: {
		spelling:  "register",
		arguments: under + " NAME",
		help:      "A name below which the client may register accounts of acme-dns",
		check:     checkRegister,
		add:       (*rights).addRegister,
		zones:     (*hosting).nameZones,
	},
	Persist: {
		spelling:  "persist",
		arguments: "DOMAIN",
		help:      "A domain for which the client may permit an ACME account to obtain certificates at any time (dns-persist-01)",
		check:     checkPersist,
		add:       (*rights).addPersist,
		zones:     (*hosting).persistZones,
	},
}

// Verbs returns all verbs.
func Verbs() iter.Seq[Verb] {
	return func(yield func(Verb) bool) {
		for v := Certificates; int(v) < len(kinds); v++ {
			if !yield(v) {
				return
			}
		}
	}
}

// ParseVerb returns the verb of that spelling.
func ParseVerb(spelling string) (v Verb, ok bool) {
	for v := range Verbs() {
		if kinds[v].spelling == spelling {
			return v, true
		}
	}
	return 0, false
}

// kind returns the verb's entry, false for what is not a verb.
func (v Verb) kind() (kind, bool) {
	if v < Certificates || int(v) >= len(kinds) {
		return kind{}, false
	}
	return kinds[v], true
}

// String returns the verb as the configuration spells it.
func (v Verb) String() string {
	if k, ok := v.kind(); ok {
		return k.spelling
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// Arguments returns what is written after the verb, "" if nothing is.
func (v Verb) Arguments() string {
	k, _ := v.kind()
	return k.arguments
}

// Help returns what a user is told about the right, without a final dot.
func (v Verb) Help() string {
	k, _ := v.kind()
	return k.help
}

func checkDomain(r Rule) error {
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

func checkTypes(r Rule) error {
	for i, t := range r.Types {
		switch {
		case t == record.TypeSOA:
			return errors.New("no right covers an SOA record: the server makes it")
		case t == 0:
			return errors.New("a type is missing; leave all types out to allow any")
		case slices.Contains(r.Types[:i], t):
			return fmt.Errorf("duplicate type %s", t)
		}
	}
	return nil
}

func checkNoTypes(r Rule) error {
	if len(r.Types) > 0 {
		return errors.New("read takes no types: a client that may read at a name reads all types there")
	}
	return nil
}

func checkRegister(r Rule) error {
	switch {
	case len(r.Types) > 0:
		return errors.New("register takes no types: it is about accounts")
	case !r.Under:
		return errors.New("accounts are below a name: it is written register under NAME")
	case r.Name.FirstLabel() == "*":
		return errors.New("a wildcard has no accounts below it")
	}
	if _, err := r.Name.Child(exampleLabel); err != nil {
		return fmt.Errorf("no account has a name below it: %w", err)
	}
	return nil
}

func checkPersist(r Rule) error {
	switch {
	case len(r.Types) > 0:
		return errors.New("persist takes no types: it is about one TXT record")
	case r.Under:
		return errors.New("persist is about one domain, and the wildcard of it if the record says so: write a right for each domain")
	case !r.Name.IsHostName():
		return errors.New("persist needs a domain of two labels or more, of letters, digits and hyphens")
	}
	_, err := record.PersistOwner(r.Name)
	return err
}

func checkAlone(r Rule) error {
	if r.Name != "" || r.Under || len(r.Types) > 0 {
		return errors.New("watch takes no name: it is about the whole service")
	}
	return nil
}
