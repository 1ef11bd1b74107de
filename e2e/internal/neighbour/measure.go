package neighbour

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// neighbourBounds is what a neighbour may bring about.
type neighbourBounds struct {
	attack, alone time.Duration // how long each takes
	p99           time.Duration // of the victim's changes, and of answers
	timesHarmless float64       // or so many times as long as beside a harmless neighbour
	memory        int64         // more than before
	saturated     bool          // questions may be lost
	mayLose       float64       // this part of them, where others keep the machine busy
	memoryBack    time.Duration // after the attack; 0 does not wait for it
	long          bool          // all attacks
}

const (
	mostMemory     = 200 << 20 // more than before
	mostMemoryLeft = 50 << 20
	mostLogged     = 32 << 10 // for each request
)

func boundsFromEnv(t *testing.T) neighbourBounds {
	t.Helper()
	text := os.Getenv(envNeighbour)
	if text == "" {
		// A machine with other things to do, and perhaps the race detector in the attacker.
		return neighbourBounds{attack: 1500 * time.Millisecond, alone: 200 * time.Millisecond, p99: 2 * time.Second, timesHarmless: 10, mayLose: 0.01}
	}
	attack, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", envNeighbour, err)
	}
	return neighbourBounds{attack: attack, alone: 2 * time.Second, p99: 20 * time.Millisecond, timesHarmless: 2, memoryBack: time.Minute, long: true}
}

// outcome is what an attack brought about.
type outcome struct {
	name            string
	took            time.Duration
	alone, attacked figures // the victim's
	udp, tcp        figures // questions
	before          int64   // memory
	peak, after     int64
	afterWait       time.Duration
	store, log      int64
	answers         map[string]int
	requests        int
	ended           string // how the service did
}

// measure carries the attack out.
func (row attack) measure(t *testing.T, bounds neighbourBounds) outcome {
	t.Helper()
	n := NewNeighbourhood(t, row.rights, row.challengeLifetime)
	questions := n.operatorNames()
	got := outcome{name: row.name}

	var changes samples
	var bystanders sync.WaitGroup
	victimCtx, stopVictim := context.WithCancel(t.Context())
	defer bystanders.Wait()
	defer stopVictim()
	bystanders.Go(func() { n.obtain(victimCtx, &changes) })
	wait(victimCtx, 100*time.Millisecond) // the first ones warm up
	aloneFrom := time.Now()
	wait(victimCtx, bounds.alone)
	aloneTo := time.Now()

	var peak atomic.Int64
	got.before = n.memory()
	watchCtx, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	bystanders.Go(func() { n.watchMemory(watchCtx, &peak) })
	setUpCtx, endSetUp := context.WithCancel(t.Context())
	defer endSetUp()
	if row.prepare != nil {
		row.prepare(&Attacker{Neighbourhood: n, ctx: setUpCtx})
	}

	attackCtx, endAttack := context.WithTimeout(t.Context(), max(bounds.attack, row.atLeast))
	defer endAttack()
	a := &Attacker{Neighbourhood: n, ctx: attackCtx}
	var udp, tcp samples
	var asking sync.WaitGroup
	began := time.Now()
	asking.Go(func() {
		if err := n.askUDP(attackCtx, questions, &udp); err != nil {
			t.Error(err)
		}
	})
	asking.Go(func() { n.askTCP(attackCtx, questions, &tcp) })
	var attacking sync.WaitGroup
	for i := range attackConnections {
		attacking.Go(func() { row.loop(a, i+1) })
	}
	select {
	case <-attackCtx.Done():
	case <-n.ended:
		endAttack()
	}
	ended := time.Now()
	attacking.Wait()
	asking.Wait()
	got.took = ended.Sub(began)
	got.udp, got.tcp = udp.between(began, ended), tcp.between(began, ended)
	got.answers, got.requests = a.answers.all()

	patience := bounds.memoryBack
	if row.atCaddy {
		patience = 0
	}
	got.after, got.afterWait = n.memoryBack(got.before+mostMemoryLeft, patience)
	stopWatching()
	stopVictim()
	bystanders.Wait()
	got.alone, got.attacked = changes.between(aloneFrom, aloneTo), changes.between(began, ended)
	got.peak = peak.Load()
	got.store, got.log = sizeOf(n.storePath()), sizeOf(n.logPath())
	got.ended = n.whatEnded()
	return got
}

// memoryBack waits until the service has no more memory than some, at most for a time,
// and returns how much it has.
func (n *Neighbourhood) memoryBack(most int64, patience time.Duration) (int64, time.Duration) {
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now, waited := n.memory(), time.Since(began)
		if now == 0 {
			<-n.ended // it is about to
		}
		if now <= most || waited >= patience {
			return now, waited
		}
		<-tick.C
	}
}

// assert fails the test for what no neighbour may bring about.
func (o outcome) assert(t *testing.T, bounds neighbourBounds) {
	t.Helper()
	if o.ended != "" {
		t.Errorf("the service %s", o.ended)
		return
	}
	if o.attacked.failed > 0 && !bounds.saturated {
		t.Errorf("%d of %d changes of the victim failed: %v", o.attacked.failed, o.attacked.count, o.attacked.failure)
	}
	if o.attacked.count == 0 || o.attacked.p99 > bounds.p99 {
		t.Errorf("p99 of %d changes of the victim: %s, at most %s", o.attacked.count, o.attacked.p99, bounds.p99)
	}
	for transport, questions := range map[string]figures{"UDP": o.udp, "TCP": o.tcp} {
		if questions.count == 0 || float64(questions.failed) > bounds.mayLose*float64(questions.count) && !bounds.saturated {
			t.Errorf("of %d questions over %s, %d were not answered as they should: %v", questions.count, transport, questions.failed, questions.failure)
		}
	}
	if more := o.peak - o.before; more > bounds.memory {
		t.Errorf("the service had %s more memory, at most %s", bytesText(more), bytesText(bounds.memory))
	}
	if more := o.after - o.before; bounds.memoryBack > 0 && more > mostMemoryLeft && !bounds.saturated {
		t.Errorf("%s after the attack the service has %s more memory, at most %s", o.afterWait, bytesText(more), bytesText(mostMemoryLeft))
	}
	if most := int64(o.requests+o.attacked.count+1000) * mostLogged; o.log > most {
		t.Errorf("%s of log for %d requests, at most %s", bytesText(o.log), o.requests, bytesText(most))
	}
}

const neighbourHeader = `| attack | victim alone, p50 / p99 | victim attacked, p50 / p99 / worst | its failures | questions not answered, UDP / TCP | p99 | memory before, peak, after | store | log | requests/s | answers |
|---|---|---|---|---|---|---|---|---|---|---|`

// row returns the outcome as a row of the table.
func (o outcome) row() string {
	answers := make([]string, 0, len(o.answers))
	for _, what := range slices.Sorted(maps.Keys(o.answers)) {
		answers = append(answers, fmt.Sprintf("%s ×%d", what, o.answers[what]))
	}
	memory := fmt.Sprintf("%s, %s, %s after %.0f s", bytesText(o.before), bytesText(o.peak), bytesText(o.after), o.afterWait.Seconds())
	if o.ended != "" {
		memory += ", **" + o.ended + "**"
	}
	return fmt.Sprintf("| %s | %s / %s | %s / %s / %s | %d of %d | %d of %d / %d of %d | %s / %s | %s | %s | %s | %.0f | %s |",
		o.name,
		milliseconds(o.alone.median), milliseconds(o.alone.p99),
		milliseconds(o.attacked.median), milliseconds(o.attacked.p99), milliseconds(o.attacked.slowest),
		o.attacked.failed, o.attacked.count,
		o.udp.failed, o.udp.count, o.tcp.failed, o.tcp.count,
		milliseconds(o.udp.p99), milliseconds(o.tcp.p99),
		memory, bytesText(o.store), bytesText(o.log),
		float64(o.requests)/o.took.Seconds(), strings.Join(answers, ", "))
}

func milliseconds(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
