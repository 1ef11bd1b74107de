package hosting

import "time"

// latencyBounds are the upper bounds of the classes into which times are sorted, in
// seconds: a commit to a fast disk takes a fraction of a millisecond, and a change
// has ten seconds at most.
var latencyBounds = [...]float64{0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Latency counts times by class, as Prometheus' histograms do.
type Latency struct {
	classes [len(latencyBounds)]uint64 // each without the ones below it
	N       uint64
	Sum     float64 // seconds
}

func (l *Latency) add(d time.Duration) {
	seconds := d.Seconds()
	l.N++
	l.Sum += seconds
	for i, bound := range latencyBounds {
		if seconds <= bound {
			l.classes[i]++
			return
		}
	}
}

// Cumulative returns how many times were at most as long as each bound.
func (l *Latency) Cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(latencyBounds))
	var n uint64
	for i, bound := range latencyBounds {
		n += l.classes[i]
		buckets[bound] = n
	}
	return buckets
}
