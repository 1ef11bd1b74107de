package clientfile

import (
	"errors"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// statement is a line of a Caddyfile and the block that it opens.
type statement struct {
	words []string
	line  int // where it begins, from 1 on
	// end is the line of the brace that closes its block, and equals line if it has none.
	end    int
	block  []statement
	braces bool
}

func (s statement) is(word string) bool { return len(s.words) > 0 && s.words[0] == word }

// precedesOptions reports whether the statement may come before the global options: a snippet, or an import of some.
func (s statement) precedesOptions() bool {
	return len(s.words) > 0 && (s.words[0] == "import" || strings.HasPrefix(s.words[0], "("))
}

// mostDepth is how deep blocks may be nested. Caddy has no use for more than a dozen.
const mostDepth = 64

var errBraces = errors.New("its braces do not match")

// parse reads the statements of a Caddyfile, without what it imports.
func parse(text []byte) ([]statement, error) {
	tokens, err := caddyfile.Tokenize(text, "")
	if errors.Is(err, io.EOF) {
		return nil, nil // an empty file
	}
	if err != nil {
		return nil, err
	}
	p := parser{tokens: tokens}
	all, err := p.statements(0)
	if err == nil && len(p.tokens) > 0 {
		err = errBraces
	}
	return all, err
}

type parser struct{ tokens []caddyfile.Token }

// statements reads as far as the brace that closes the block that they are in.
func (p *parser) statements(depth int) (all []statement, err error) {
	if depth > mostDepth {
		return nil, errBraces
	}
	for len(p.tokens) > 0 && !isBrace(p.tokens[0], "}") {
		s, err := p.statement(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (p *parser) statement(depth int) (s statement, err error) {
	first := p.tokens[0]
	s.line, s.end = first.Line, first.Line
	lastLine := first.Line
	for len(p.tokens) > 0 && p.tokens[0].Line <= lastLine {
		token := p.tokens[0]
		if isBrace(token, "}") {
			return s, errBraces // one at the end of a line closes nothing
		}
		p.tokens = p.tokens[1:]
		lastLine = token.Line + token.NumLineBreaks()
		opens := isBrace(token, "{") && (len(p.tokens) == 0 || p.tokens[0].Line > lastLine)
		if !opens {
			s.words = append(s.words, token.Text)
			continue
		}
		if s.block, err = p.statements(depth + 1); err != nil {
			return s, err
		}
		if len(p.tokens) == 0 {
			return s, errBraces
		}
		s.end, s.braces = p.tokens[0].Line, true
		p.tokens = p.tokens[1:]
		return s, nil
	}
	return s, nil
}

func isBrace(token caddyfile.Token, brace string) bool { return token.Text == brace && !token.Quoted() }
