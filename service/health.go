package service

import (
	"errors"
	"strings"
	"time"
)

// health reports whether this process can do its work. A provider that is down
// does not make it unhealthy.
func (a *App) health() error {
	if !a.hosting.Ready() {
		return errors.New("the name server is not up yet")
	}
	if !a.hasServer() {
		return nil
	}
	if err := a.shared.Health(); err != nil {
		return err
	}
	var failing []string
	for _, s := range a.sockets {
		if err := s.Err(); err != nil {
			failing = append(failing, err.Error())
		}
	}
	if len(failing) > 0 {
		return errors.New(strings.Join(failing, "; "))
	}
	return nil
}

// healthySince returns since when the process can do its work, across reloads. It means nothing while
// health has an error.
func (a *App) healthySince() time.Time {
	since := liveApps.healthySince()
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}
	if a.shared != nil {
		later(a.shared.Recovered())
	}
	for _, s := range a.sockets {
		later(s.Recovered())
	}
	return since
}
