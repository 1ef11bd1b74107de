//go:build race

package e2e

// raceEnabled says that the test was built with the race detector, and so the
// programs under test should be.
const raceEnabled = true
