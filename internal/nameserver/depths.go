package nameserver

import "strings"

// depths counts the names of a zone by how many labels they have. Only what has
// fewer labels than the deepest can be an empty non-terminal, so that for what has as
// many, such as challenges among challenges, nobody has to look.
type depths struct {
	names   [maxLabels + 1]int32
	deepest int
}

// maxLabels is the most labels that a name of 255 octets can have.
const maxLabels = (maxName - 1) / 2

// labelsOf returns how many labels a key has.
func labelsOf(key string) int { return strings.Count(key, "\x00") }

func (d *depths) count(labels, by int) {
	d.names[labels] += int32(by)
	d.deepest = max(d.deepest, labels)
	for d.deepest > 0 && d.names[d.deepest] == 0 {
		d.deepest--
	}
}
