package acmednsdump

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	texts "github.com/caddy-dns/bestdns/internal/text"
)

// The tables of acme-dns that are read. Its third one, txt, has the values of challenges.
const (
	accountsTable = "records"
	versionTable  = "acmedns"
)

// needed are the columns that tables are recognized by, in the order in which rows are taken.
// Other programs have tables of the same names: PowerDNS has one records too.
var needed = map[string][]string{
	accountsTable: {"username", "password", "subdomain", "allowfrom"},
	versionTable:  {"name", "value"},
}

// tableName is the name of a table, with its schema if the dump says it.
type tableName struct{ base, full string }

// tables are the tables in a dump that have a name of one of acme-dns'.
type tables struct {
	columns map[string][]string // by full name, of those that were created
	// accounts is the full name of the table of accounts, "" until it was found.
	accounts string
	foreign  []string // the columns of a table that has its name only
}

// missing returns the error of a dump without accounts.
func (t *tables) missing() error {
	if t.foreign != nil {
		return fmt.Errorf("this is not a dump of acme-dns' database: its table %s has the columns %s, and acme-dns' has %s",
			accountsTable, texts.Brief(strings.Join(t.foreign, ", "), texts.MaxName), strings.Join(needed[accountsTable], ", "))
	}
	return fmt.Errorf("this is not a dump of acme-dns' database, as \"sqlite3 acme-dns.db .dump\" or \"pg_dump acmedns\" writes it: it has no table %s", accountsTable)
}

// create notes a table that a CREATE TABLE makes.
func (t *tables) create(name tableName, columns []string, line int) error {
	_, again := t.columns[name.full]
	if t.columns == nil {
		t.columns = make(map[string][]string)
	}
	if len(t.columns) == maxTables && !again {
		return fmt.Errorf("line %d: there are more than %d tables with names of acme-dns' tables", line, maxTables)
	}
	t.columns[name.full] = columns
	if name.base != accountsTable {
		return nil
	}
	if !isOurs(name, columns) {
		t.foreign = columns
		return nil
	}
	if t.accounts != "" {
		return t.ambiguous(name, line)
	}
	t.accounts = name.full
	return nil
}

// ambiguous returns the error of a second table that could be acme-dns'.
func (t *tables) ambiguous(name tableName, line int) error {
	return fmt.Errorf("line %d: the dump has the tables %q and %q, and both could be acme-dns': dump one database, and one schema of it",
		line, texts.Brief(t.accounts, texts.MaxName), texts.Brief(name.full, texts.MaxName))
}

// isOurs reports whether a table with these columns is acme-dns'.
func isOurs(name tableName, columns []string) bool {
	for _, column := range needed[name.base] {
		if !slices.Contains(columns, column) {
			return false
		}
	}
	return needed[name.base] != nil
}

// layout is where the rows of a statement have what is needed of them.
type layout struct {
	table string
	// at is the position of each value that is needed, -1 if the rows lack it.
	at    []int
	width int // of a row, in values
}

// layout returns that of a statement's rows, nil if they are not acme-dns'. listed are the columns
// that the statement itself names.
func (t *tables) layout(name tableName, listed []string, line int) (*layout, error) {
	if needed[name.base] == nil {
		return nil, nil
	}
	columns, created := t.columns[name.full]
	switch {
	case created && !isOurs(name, columns):
		return nil, nil
	case !created && listed == nil && name.base == accountsTable:
		return nil, fmt.Errorf("line %d: rows of %s do not name their columns, and no CREATE TABLE does: dump the database with its schema", line, accountsTable)
	case !created && !isOurs(name, listed):
		if name.base == accountsTable {
			t.foreign = listed
		}
		return nil, nil
	case !created && name.base == accountsTable && t.accounts == "":
		t.accounts = name.full
	case !created && name.base == accountsTable && t.accounts != name.full:
		return nil, t.ambiguous(name, line)
	}
	if listed != nil {
		columns = listed
	}
	l := &layout{table: name.base, width: len(columns)}
	for _, column := range needed[name.base] {
		l.at = append(l.at, slices.Index(columns, column))
	}
	return l, nil
}

// tableName reads the name of a table, which the current token begins, and leaves the token after
// it. The name is empty if it is written in a way that no dump of acme-dns has.
func (r *reader) tableName() (name tableName, err error) {
	for {
		if !r.token.isName() || r.token.bad != nil || len(name.full) > maxValue {
			return tableName{}, nil
		}
		name.base = r.token.text
		name.full += name.base
		if err := r.next(); err != nil || !r.token.is(symbol, ".") {
			return name, err
		}
		name.full += "."
		if err := r.next(); err != nil {
			return name, err
		}
	}
}

// create reads CREATE TABLE, and the beginning of what else is created.
func (r *reader) create() error {
	for {
		if err := r.next(); err != nil {
			return err
		}
		if r.token.is(word, "table") {
			break
		}
		switch r.token.text {
		case "temp", "temporary", "unlogged", "global", "local":
		default: // something else than a table
			return nil
		}
	}
	if err := r.next(); err != nil {
		return err
	}
	for _, optional := range []string{"if", "not", "exists"} {
		if r.token.is(word, optional) {
			if err := r.next(); err != nil {
				return err
			}
		}
	}
	line := r.token.line
	name, err := r.tableName()
	if err != nil || needed[name.base] == nil || !r.token.is(symbol, "(") {
		return err
	}
	columns, err := r.columns()
	if err != nil {
		return err
	}
	return r.tables.create(name, columns, line)
}

// constraints are what an entry of CREATE TABLE begins with that is not a column.
var constraints = []string{"constraint", "primary", "unique", "check", "foreign", "exclude", "like"}

// columns reads a list of columns in parentheses, of which the current token is the first: that of
// CREATE TABLE, INSERT or COPY. It returns their names, not nil, and leaves the token after it.
func (r *reader) columns() ([]string, error) {
	columns := []string{}
	for {
		if err := r.next(); err != nil {
			return nil, err
		}
		isColumn := r.token.kind == quoted || r.token.kind == word && !slices.Contains(constraints, r.token.text)
		if isColumn && len(columns) < maxColumns {
			columns = append(columns, texts.Clip(r.token.text, texts.MaxName))
		}
		_, last, err := r.skipItem()
		if err != nil {
			return nil, err
		}
		if last {
			return columns, r.next()
		}
	}
}

// skipItem goes on from the current token, the first of an item of a list, to the comma or
// parenthesis that ends it. It returns how many tokens the item has, and whether it is the last one.
func (r *reader) skipItem() (tokens int, last bool, err error) {
	for depth := 0; ; tokens++ {
		switch {
		case r.token.kind == end:
			return tokens, true, errors.New("the dump ends within a list: it is not complete")
		case r.token.is(symbol, "("):
			depth++
		case r.token.is(symbol, ")"):
			if depth--; depth < 0 {
				return tokens, true, nil
			}
		case depth == 0 && r.token.is(symbol, ","):
			return tokens, false, nil
		}
		if err := r.next(); err != nil {
			return tokens, true, err
		}
	}
}
