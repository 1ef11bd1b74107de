// Package acmednsdump reads the accounts of acme-dns out of a dump of its database: the SQL that
// sqlite3's .dump and pg_dump write, pg_dump with rows as COPY and as INSERT. It needs no database
// for that.
//
// Columns are found by their names, in CREATE TABLE or in the list of an INSERT or COPY, so that
// their order in older databases does not matter. What is not about an account is ignored.
//
// A dump is the operator's file, but clients of acme-dns have decided how many accounts it has and
// which networks each lists: most instances let anyone register. So all of that is bounded here.
package acmednsdump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Bounds of a dump.
const (
	// MaxSize is how many bytes a dump may have.
	MaxSize = 256 << 20
	// MaxAccounts is how many rows the table of accounts may have.
	MaxAccounts = 500_000
	// maxValue is how many bytes of a value, and of a line of COPY, are kept. acme-dns' own have
	// some hundred.
	maxValue = 64 << 10
	// maxNetworks is how many networks an account may be bound to.
	maxNetworks = 1000
	// maxColumns is how many columns of a table and values of a row are kept: acme-dns has six at
	// most.
	maxColumns = 100
	// maxTables is how many tables of one name, in schemas of their own, there may be.
	maxTables = 100
	// maxSkipped is how many skipped accounts are kept, with the reason.
	maxSkipped = 100
)

// Account is an account of acme-dns.
type Account struct {
	Line     int // of the dump, where its row begins
	Username string
	// Password is what the database has of its password, which should be a bcrypt hash.
	Password  string
	Subdomain string
	// Networks are those that it is bound to; empty: none.
	Networks []netip.Prefix
}

// Skipped is an account that was not taken.
type Skipped struct {
	Line     int
	Username string // "" if the row has no user name that can be read
	Why      error
}

// Accounts are the accounts of a dump.
type Accounts struct {
	Taken []Account
	// Skipped are the first hundred accounts that were not taken, and SkippedInAll how many were
	// not.
	Skipped      []Skipped
	SkippedInAll int
}

// Read reads a dump. An account of which check returns an error is skipped, as is one that the
// dump itself makes doubtful: a user name or subdomain that an earlier row has, or networks that
// cannot be read. So an account that was bound to a network never becomes one that is not.
//
// An error is one of the whole dump, nothing of which is to be used: it is not one of acme-dns, or
// not complete, or over a limit.
func Read(in io.Reader, check func(Account) error) (Accounts, error) {
	return newReader(in, check).read()
}

// reader reads a dump, statement by statement.
type reader struct {
	scanner
	check  func(Account) error
	tables tables

	accounts  Accounts
	rows      int // of accounts
	maxRows   int
	usernames map[string]int // the line of the row that has it
	labels    map[string]int

	// inTransaction is set from SQLite's BEGIN to its COMMIT.
	inTransaction bool
}

func newReader(in io.Reader, check func(Account) error) *reader {
	return &reader{
		scanner:   scanner{in: bufio.NewReaderSize(in, maxValue), line: 1, maxSize: MaxSize},
		check:     check,
		maxRows:   MaxAccounts,
		usernames: make(map[string]int),
		labels:    make(map[string]int),
	}
}

func (r *reader) read() (Accounts, error) {
	if err := r.refuseOtherFormats(); err != nil {
		return Accounts{}, err
	}
	for {
		more, err := r.statement()
		if err != nil {
			return Accounts{}, err
		}
		if !more {
			break
		}
	}
	switch {
	case r.inTransaction || r.inPostgres:
		return Accounts{}, errors.New("the dump is not complete: what sqlite3 and pg_dump write at its end is missing")
	case r.tables.accounts == "":
		return Accounts{}, r.tables.missing()
	}
	return r.accounts, nil
}

// statement reads a statement to its end, false if there is no other one.
func (r *reader) statement() (more bool, err error) {
	if err := r.next(); err != nil {
		return false, err
	}
	first := r.token
	switch {
	case first.kind == end:
		return false, nil
	case first.is(symbol, ";"):
		return true, nil
	case first.is(symbol, `\`): // a command of psql, such as \restrict
		return true, r.skipLine()
	case first.is(word, "create"):
		err = r.create()
	case first.is(word, "insert"):
		err = r.insert()
	case first.is(word, "copy"):
		return true, r.copy()
	case first.is(word, "set"):
		err = r.set()
	case first.is(word, "begin"):
		r.inTransaction = true
	case first.is(word, "commit"):
		r.inTransaction = false
	case first.is(word, "rollback"): // "ROLLBACK; -- due to errors"
		return false, fmt.Errorf("line %d: sqlite3 could not read the whole database, and says so in the dump: look for ERROR in it", first.line)
	}
	if err != nil {
		return false, err
	}
	return true, r.skipStatement(first.line)
}

// skipStatement goes on to the ";" that ends the statement.
func (r *reader) skipStatement(began int) error {
	for !r.token.is(symbol, ";") {
		if r.token.kind == end {
			return fmt.Errorf("the dump ends within the statement that begins in line %d: it is not complete, or it is not as sqlite3 or pg_dump write it", began)
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// set reads SET, of which one setting matters: how strings are written.
func (r *reader) set() error {
	if err := r.next(); err != nil || !r.token.is(word, "standard_conforming_strings") {
		return err
	}
	line := r.token.line
	for !r.token.is(symbol, ";") && r.token.kind != end {
		if r.token.text == "off" {
			return fmt.Errorf("line %d: the dump has been made with standard_conforming_strings = off, in which strings mean something else: set it to on in PostgreSQL's configuration for pg_dump", line)
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}
