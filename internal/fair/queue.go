// Package fair has clients take turns, so that one with much to do holds up another
// by one item and not by all of its own.
package fair

// Queue holds items of clients. The clients take turns, and the items of one client
// keep their order. A client that has just come waits for at most one item of each
// other client. The zero value is an empty queue.
//
// It keeps no memory for a client without items. It is not safe for concurrent use.
type Queue[T comparable] struct {
	lines map[string]*line[T] // by client; none is empty
	next  *line[T]            // whose turn it is; nil if the queue is empty
	n     int                 // items
	most  int                 // the lines that there were since lines was made
	// free are lines that ran empty, to be used again, and room is that for items in
	// all of them.
	free []*line[T]
	room int
}

// line holds the items of one client, and its place in the circle of clients.
type line[T comparable] struct {
	client       string
	items        []T // a ring, its length a power of two
	first, n     int // of the ring
	before, next *line[T]
}

// What is kept for use again when it is no longer needed. More is a burst that may
// not come again.
const (
	fewLines = 64
	fewItems = 1024         // of one line
	freeRoom = 4 * fewItems // of all free lines together
)

// Push adds an item after the client's others.
func (q *Queue[T]) Push(client string, item T) {
	l := q.lines[client]
	if l == nil {
		l = q.enter(client)
	}
	l.push(item)
	q.n++
}

// Pop takes the oldest item of the client whose turn it is. That client then goes
// after all others. It reports false if the queue is empty.
func (q *Queue[T]) Pop() (item T, ok bool) {
	l := q.next
	if l == nil {
		return item, false
	}
	item = l.pop()
	q.n--
	q.next = l.next // the circle ends where it begins
	if l.n == 0 {
		q.leave(l)
	}
	return item, true
}

// Peek returns what Pop would.
func (q *Queue[T]) Peek() (item T, ok bool) {
	if q.next == nil {
		return item, false
	}
	return q.next.at(0), true
}

// Remove takes back an item of the client, the oldest if there are equal ones, and
// reports whether it was there. The time grows with the number of the client's items.
func (q *Queue[T]) Remove(client string, item T) bool {
	l := q.lines[client]
	if l == nil || !l.remove(item) {
		return false
	}
	q.n--
	if l.n == 0 {
		q.leave(l)
	}
	return true
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return q.n }

// enter puts a client after all others.
func (q *Queue[T]) enter(client string) *line[T] {
	var l *line[T]
	if last := len(q.free) - 1; last >= 0 {
		l, q.free[last] = q.free[last], nil
		q.free, q.room = q.free[:last], q.room-len(l.items)
	} else {
		l = new(line[T])
	}
	l.client = client
	if q.lines == nil {
		q.lines = make(map[string]*line[T])
	}
	q.lines[client] = l
	q.most = max(q.most, len(q.lines))
	if q.next == nil {
		q.next, l.before, l.next = l, l, l
		return l
	}
	l.before, l.next = q.next.before, q.next
	l.before.next, l.next.before = l, l
	return l
}

// leave forgets a client that has no items left.
func (q *Queue[T]) leave(l *line[T]) {
	delete(q.lines, l.client)
	switch {
	case l.next == l:
		q.next = nil
		if q.most > fewLines { // a map does not shrink
			q.lines, q.most = nil, 0
		}
	case q.next == l:
		q.next = l.next
	}
	l.before.next, l.next.before = l.next, l.before
	l.client, l.before, l.next = "", nil, nil
	if len(l.items) <= fewItems && len(q.free) < fewLines && q.room+len(l.items) <= freeRoom {
		q.free, q.room = append(q.free, l), q.room+len(l.items)
	}
}

func (l *line[T]) slot(i int) *T { return &l.items[(l.first+i)&(len(l.items)-1)] }

func (l *line[T]) at(i int) T { return *l.slot(i) }

func (l *line[T]) push(item T) {
	if l.n == len(l.items) {
		l.resize(max(2*l.n, 4))
	}
	*l.slot(l.n) = item
	l.n++
}

func (l *line[T]) pop() T {
	item := l.at(0)
	var none T
	*l.slot(0) = none
	l.first = (l.first + 1) & (len(l.items) - 1)
	l.n--
	l.shrink()
	return item
}

func (l *line[T]) remove(item T) bool {
	i := 0
	for i < l.n && l.at(i) != item {
		i++
	}
	if i == l.n {
		return false
	}
	for ; i < l.n-1; i++ {
		*l.slot(i) = l.at(i + 1)
	}
	var none T
	*l.slot(i) = none
	l.n--
	l.shrink()
	return true
}

// shrink gives back the room of a burst.
func (l *line[T]) shrink() {
	if len(l.items) > fewItems && l.n <= len(l.items)/4 {
		l.resize(len(l.items) / 2)
	}
}

func (l *line[T]) resize(size int) {
	items := make([]T, size)
	for i := range l.n {
		items[i] = l.at(i)
	}
	l.items, l.first = items, 0
}
