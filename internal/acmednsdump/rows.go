package acmednsdump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// value is a value of a row.
type value struct {
	text   string
	isNull bool
	bad    error // why text is not what the database has
}

var (
	errMissing    = errors.New("is missing")
	errLongLine   = fmt.Errorf("is in a line of more than %d bytes, which are the most", maxValue)
	errExpression = errors.New("is written as an expression, not as a string")
)

// insert reads the rows of an INSERT.
func (r *reader) insert() error {
	line := r.token.line
	for !r.token.is(word, "into") { // INSERT OR REPLACE INTO
		if err := r.next(); err != nil {
			return err
		}
		if r.token.kind != word {
			return nil
		}
	}
	if err := r.next(); err != nil {
		return err
	}
	name, err := r.tableName()
	if err != nil || needed[name.base] == nil {
		return err
	}
	var listed []string
	if r.token.is(symbol, "(") {
		if listed, err = r.columns(); err != nil {
			return err
		}
	}
	l, err := r.tables.layout(name, listed, line)
	if err != nil || l == nil {
		return err
	}
	for range 3 { // OVERRIDING SYSTEM VALUE
		if r.token.kind == word && !r.token.is(word, "values") {
			if err := r.next(); err != nil {
				return err
			}
		}
	}
	if !r.token.is(word, "values") {
		return fmt.Errorf("line %d: INSERT INTO %s has no list of VALUES", line, name.base)
	}
	for {
		if err := r.next(); err != nil {
			return err
		}
		line := r.token.line
		if !r.token.is(symbol, "(") {
			return fmt.Errorf("line %d: a row of %s was expected, in parentheses", line, name.base)
		}
		values, err := r.values()
		if err != nil {
			return err
		}
		if err := r.row(l, values, line); err != nil {
			return err
		}
		if !r.token.is(symbol, ",") {
			return nil
		}
	}
}

// values reads a row in parentheses, of which the current token is the first, and leaves the token
// after it.
func (r *reader) values() ([]value, error) {
	var values []value
	for {
		if err := r.next(); err != nil {
			return nil, err
		}
		first := r.token
		tokens, last, err := r.skipItem()
		if err != nil {
			return nil, err
		}
		if len(values) < maxColumns {
			values = append(values, valueOf(first, tokens))
		}
		if last {
			return values, r.next()
		}
	}
}

// valueOf returns the value that is written as so many tokens, of which t is the first.
func valueOf(t token, tokens int) value {
	switch {
	case tokens == 1 && (t.kind == text || t.kind == blob):
		return value{text: t.text, bad: t.bad}
	case tokens == 1 && t.is(word, "null"):
		return value{isNull: true}
	}
	return value{bad: errExpression}
}

// copy reads COPY and the rows that follow it.
func (r *reader) copy() error {
	line := r.token.line
	if err := r.next(); err != nil {
		return err
	}
	name, err := r.tableName()
	if err != nil {
		return err
	}
	var l *layout
	if needed[name.base] != nil {
		var listed []string
		if r.token.is(symbol, "(") {
			if listed, err = r.columns(); err != nil {
				return err
			}
		}
		if l, err = r.tables.layout(name, listed, line); err != nil {
			return err
		}
	}
	var before [2]token // the two before the current one
	for !r.token.is(symbol, ";") && r.token.kind != end {
		before[0], before[1] = before[1], r.token
		if err := r.next(); err != nil {
			return err
		}
	}
	if err := r.skipStatement(line); err != nil {
		return err
	}
	switch {
	case before[0].is(word, "from") && before[1].is(word, "stdin"):
		return r.copied(l)
	case l != nil:
		return fmt.Errorf("line %d: the rows of %s are not in the format that pg_dump has for COPY", line, l.table)
	}
	return nil
}

// copied reads the rows of a COPY. They are not acme-dns' without a layout.
func (r *reader) copied(l *layout) error {
	if err := r.skipLine(); err != nil { // what is left of the statement's
		return err
	}
	const last = `\.`
	keep := len(last) + len("\r")
	if l != nil {
		keep = maxValue
	}
	for {
		began := r.line
		line, long, err := r.readLine(keep)
		switch {
		case string(line) == last && !long && (err == nil || errors.Is(err, io.EOF)):
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the dump ends within the rows of a table, in line %d: it is not complete", began)
		case err != nil:
			return err
		case l == nil:
			continue
		}
		values := copiedValues(line)
		if long {
			values = slices.Repeat([]value{{bad: errLongLine}}, l.width)
		}
		if err := r.row(l, values, began); err != nil {
			return err
		}
	}
}

// copiedValues returns the values of a line.
func copiedValues(line []byte) (values []value) {
	for field := range bytes.SplitSeq(line, []byte("\t")) {
		var v value
		if v.isNull = string(field) == `\N`; !v.isNull {
			v.text, v.bad = unescape(field)
		}
		if values = append(values, v); len(values) == maxColumns {
			break
		}
	}
	return values
}

// row takes a row of a table.
func (r *reader) row(l *layout, values []value, line int) error {
	row := make([]value, len(l.at)) // the values that are needed
	for i, at := range l.at {
		switch {
		case len(values) != l.width:
			row[i].bad = fmt.Errorf("cannot be told: the row has %d values, and the table %d columns", len(values), l.width)
		case at < 0:
			row[i].bad = errMissing
		default:
			row[i] = values[at]
		}
	}
	if l.table == versionTable {
		return checkVersion(row[0], row[1], line)
	}
	if r.rows++; r.rows > r.maxRows {
		return fmt.Errorf("line %d: the dump has more than %d accounts, which are the most", line, r.maxRows)
	}
	r.take(row, line)
	return nil
}

// checkVersion refuses a dump of an acme-dns that is newer than what is known here: its accounts
// could have restrictions that would be lost.
func checkVersion(name, version value, line int) error {
	if name.text != "db_version" || version.text == "0" || version.text == "1" {
		return nil
	}
	return fmt.Errorf("line %d: the database has db_version %.20q, and 0 and 1 are known", line, version.text)
}
