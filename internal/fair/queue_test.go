package fair

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// drain pops everything.
func drain[T comparable](q *Queue[T]) []T {
	var all []T
	for item, ok := q.Pop(); ok; item, ok = q.Pop() {
		all = append(all, item)
	}
	return all
}

func TestQueueTurns(t *testing.T) {
	var q Queue[string]
	for i := range 4 {
		q.Push("a", fmt.Sprint("a", i))
	}
	q.Push("b", "b0")
	q.Push("c", "c0")
	q.Push("b", "b1")
	if want, got := "[a0 b0 c0 a1 b1 a2 a3]", fmt.Sprint(drain(&q)); got != want {
		t.Errorf("popped %s, want %s", got, want)
	}
}

// TestQueueNewcomer has a client come to those that have much to do.
func TestQueueNewcomer(t *testing.T) {
	var q Queue[string]
	for i := range 3000 {
		q.Push(fmt.Sprint("busy", i%3), "busy")
	}
	for range 1000 {
		q.Push("new", "new")
		waited := 0
		for item, _ := q.Pop(); item != "new"; item, _ = q.Pop() {
			waited++
		}
		if waited > 3 {
			t.Fatalf("waited for %d items of three clients", waited)
		}
		if q.Len() == 0 {
			return
		}
	}
	t.Error("the busy ones got no turns")
}

func TestQueueEmpty(t *testing.T) {
	var q Queue[int]
	if item, ok := q.Pop(); item != 0 || ok {
		t.Errorf("popped %d, %v", item, ok)
	}
	if item, ok := q.Peek(); item != 0 || ok {
		t.Errorf("peeked at %d, %v", item, ok)
	}
	if q.Remove("a", 0) || q.Len() != 0 {
		t.Error("something was in an empty queue")
	}
}

// naiveQueue is what Queue does, written to be read.
type naiveQueue struct {
	clients []string // in the order of their turns
	items   map[string][]int
}

func (q *naiveQueue) push(client string, item int) {
	if len(q.items[client]) == 0 {
		q.clients = append(q.clients, client)
	}
	q.items[client] = append(q.items[client], item)
}

func (q *naiveQueue) pop() (int, bool) {
	if len(q.clients) == 0 {
		return 0, false
	}
	client := q.clients[0]
	item := q.items[client][0]
	q.clients, q.items[client] = q.clients[1:], q.items[client][1:]
	if len(q.items[client]) > 0 {
		q.clients = append(q.clients, client)
	}
	return item, true
}

func (q *naiveQueue) remove(client string, item int) bool {
	i := slices.Index(q.items[client], item)
	if i < 0 {
		return false
	}
	q.items[client] = slices.Delete(q.items[client], i, i+1)
	if len(q.items[client]) == 0 {
		q.clients = slices.Delete(q.clients, slices.Index(q.clients, client), slices.Index(q.clients, client)+1)
	}
	return true
}

func TestQueueAgainstNaive(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		var q Queue[int]
		naive := naiveQueue{items: make(map[string][]int)}
		clients := 1 + random.IntN(200)
		pushes := 1 + random.IntN(9) // of ten steps: some grow, some stay near empty
		for step := range 3000 {
			client := fmt.Sprint(random.IntN(1 + random.IntN(clients)))
			switch n := random.IntN(10); {
			case n < pushes:
				item := random.IntN(50) // equal ones too
				q.Push(client, item)
				naive.push(client, item)
			case n == 9:
				item := random.IntN(50)
				if got, want := q.Remove(client, item), naive.remove(client, item); got != want {
					t.Fatalf("seed %d, step %d: Remove(%s, %d) %v, want %v", seed, step, client, item, got, want)
				}
			default:
				peeked, _ := q.Peek()
				got, ok := q.Pop()
				want, wantOK := naive.pop()
				if got != want || ok != wantOK || peeked != got {
					t.Fatalf("seed %d, step %d: popped %d, %v after a peek at %d, want %d, %v", seed, step, got, ok, peeked, want, wantOK)
				}
			}
			left := 0
			for _, client := range naive.clients {
				left += len(naive.items[client])
			}
			if q.Len() != left || len(q.lines) != len(naive.clients) {
				t.Fatalf("seed %d, step %d: %d items of %d clients, want %d of %d", seed, step, q.Len(), len(q.lines), left, len(naive.clients))
			}
		}
		for want, ok := naive.pop(); ok; want, ok = naive.pop() {
			if got, _ := q.Pop(); got != want {
				t.Fatalf("seed %d: at the end popped %d, want %d", seed, got, want)
			}
		}
	}
}

// TestQueueMemory shows that a burst is forgotten.
func TestQueueMemory(t *testing.T) {
	var q Queue[*int]
	for i := range 100_000 {
		q.Push("a", new(int))
		q.Push(fmt.Sprint(i%1000), new(int))
	}
	for q.lines["a"] != nil {
		q.Pop()
		if l := q.lines["a"]; l != nil && len(l.items) > max(fewItems, 8*l.n) {
			t.Fatalf("%d items have room for %d", l.n, len(l.items))
		}
	}
	drain(&q)
	if len(q.lines) != 0 || q.next != nil || q.most != 0 || len(q.free) > fewLines {
		t.Errorf("left behind: %+v", q)
	}
	room := 0
	for _, l := range q.free {
		room += len(l.items)
	}
	if room > freeRoom || room != q.room {
		t.Errorf("room for %d items is kept, counted as %d", room, q.room)
	}
	// A popped or removed item is not kept alive by its place.
	q.Push("a", new(int))
	last := new(int)
	q.Push("a", last)
	q.Pop()
	q.Remove("a", last)
	for _, l := range q.free {
		if l.client != "" || l.before != nil || l.next != nil || slices.ContainsFunc(l.items, func(item *int) bool { return item != nil }) {
			t.Errorf("it still refers to what it held: %+v", l)
		}
	}
}

func TestQueueAllocates(t *testing.T) {
	var q Queue[*int]
	item := new(int)
	for _, burst := range []int{1, 150, fewItems} {
		if n := testing.AllocsPerRun(100, func() {
			for range burst {
				q.Push("a", item)
			}
			for range burst {
				q.Pop()
			}
		}); n != 0 {
			t.Errorf("%d pushed and popped: %v allocations", burst, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, client := range []string{"a", "b", "c", "d"} {
			q.Push(client, item)
		}
		for range 4 {
			q.Pop()
		}
	}); n != 0 {
		t.Errorf("one of each of four clients: %v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, clients := range []int{1, 100} {
		names := make([]string, clients)
		for i := range names {
			names[i] = fmt.Sprint("client", i)
		}
		b.Run(fmt.Sprint(clients, "clients"), func(b *testing.B) {
			var q Queue[*int]
			item := new(int)
			b.ReportAllocs()
			for b.Loop() {
				for _, name := range names {
					q.Push(name, item)
				}
				for range names {
					q.Pop()
				}
			}
		})
	}
}
