package fair

import "runtime"

// Breather gives way to other goroutines now and then, in work of many small steps. The
// zero value is ready.
type Breather int

// Breathe is called once for each step.
func (b *Breather) Breathe() {
	const often = 128
	if *b++; *b%often == 0 {
		runtime.Gosched()
	}
}
