package rfc2136

import (
	"errors"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/record"
)

// This file does some changes together: it asks what is there, has the updates made, looks
// at what is served then, and mends what is not.

// lookTimeout is how long the primary may take to say what it serves after an update. The
// update has been made, so that no answer is not an error.
const lookTimeout = 2 * time.Second

// do does jobs together, and finishes each of them.
func (z *Zone) do(jobs []*job) {
	made := z.update(z.composeAll(jobs))
	for _, j := range made {
		if len(j.after) == 0 {
			j.finish(nil) // now, since the next of its client may come while the others are looked at
		}
	}
	z.mendAll(z.lookAt(made))
	finishAll(jobs, nil)
}

// finishAll finishes those jobs that are not finished.
func finishAll(jobs []*job, err error) {
	for _, j := range jobs {
		j.finish(err)
	}
}

// firstDeadline returns the first of jobs' deadlines.
func firstDeadline(jobs []*job) time.Time {
	first := jobs[0].deadline
	for _, j := range jobs[1:] {
		first = earlier(first, j.deadline)
	}
	return first
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// composeAll asks for what is there, and composes the updates of jobs. It returns those for
// which there is something to send, and finishes the others.
func (z *Zone) composeAll(jobs []*job) (composed []*job) {
	var questions []question
	for _, j := range jobs {
		questions = append(questions, j.before...)
	}
	var looks map[question]look
	if len(questions) > 0 {
		until := firstDeadline(jobs)
		until = until.Add(-time.Until(until) / 2) // the other half is for the update
		var err error
		if looks, err = z.ask(until, questions); err != nil {
			finishAll(jobs, unchanged(err))
			return nil
		}
	}
	for _, j := range jobs {
		if len(j.before) > 0 {
			if err := z.compose(j, looks); err != nil || len(j.update) == 0 {
				j.finish(err)
				continue
			}
		}
		composed = append(composed, j)
	}
	return composed
}

// update has jobs' updates made, in as many messages as need be, and returns the jobs whose
// were. It finishes the others.
func (z *Zone) update(jobs []*job) (made []*job) {
	for len(jobs) > 0 {
		n, size := 1, jobs[0].size
		for n < len(jobs) && size+jobs[n].size <= updateRoom {
			size += jobs[n].size
			n++
		}
		made = append(made, z.updateOrDivide(jobs[:n])...)
		jobs = jobs[n:]
	}
	return made
}

// updateOrDivide sends one message, and if that is refused, one for each half of the jobs,
// until those are found that are at fault.
func (z *Zone) updateOrDivide(jobs []*job) (made []*job) {
	err := z.sendUpdate(firstDeadline(jobs), jobs)
	switch {
	case err == nil:
		return jobs
	case !mayBeOfOne(err):
		finishAll(jobs, err)
		return nil
	case len(jobs) > 1:
		half := len(jobs) / 2
		made = z.updateOrDivide(jobs[:half])
		return append(made[:len(made):len(made)], z.updateOrDivide(jobs[half:])...)
	}
	if notMet := jobs[0].notMet(err); notMet != nil {
		jobs[0].finish(notMet)
		return nil
	}
	z.suspects.add(jobs[0].client, time.Now())
	jobs[0].finish(z.explain(jobs[0], err))
	return nil
}

// mayBeOfOne reports whether an error may be that of one change among others. Then nothing
// was changed.
func mayBeOfOne(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Kind == KeyRefused || !e.Unchanged {
		return false
	}
	return e.Rcode != dns.RcodeSuccess && e.Rcode != dns.RcodeNotAuth && e.Rcode != dns.RcodeNotImplemented
}

// explain finds out whether an update was refused for a conflict: PowerDNS answers REFUSED
// where there is a CNAME.
func (z *Zone) explain(j *job, err error) error {
	var e *Error
	if !errors.As(err, &e) || !e.Unchanged || j.op == record.Delete {
		return err
	}
	looks, failed := z.ask(earlier(time.Now().Add(lookTimeout), j.deadline), j.after)
	if failed != nil {
		return err
	}
	for _, q := range j.after {
		l := looks[q]
		if reason := l.conflict(q); reason != "" && len(l.missing(q, j.given)) > 0 {
			conflict := z.conflict(reason, true)
			conflict.Server, conflict.Rcode, conflict.Err = e.Server, e.Rcode, err
			return conflict
		}
	}
	return err
}

// lookAt asks for what the updates of jobs have written, and returns what is to be done about
// what is not served.
func (z *Zone) lookAt(jobs []*job) (mends []*mend) {
	var questions []question
	for _, j := range jobs {
		questions = append(questions, j.after...)
	}
	if len(questions) == 0 {
		return nil
	}
	looks, err := z.ask(earlier(time.Now().Add(lookTimeout), firstDeadline(jobs)), questions)
	if err != nil {
		z.Log.Warn("the primary name server has made an update, and does not say what it serves now", "zone", z.Zone.String(), "error", err)
		return nil
	}
	for _, j := range jobs {
		if m := z.mend(j, looks); m != nil {
			mends = append(mends, m)
		}
	}
	return mends
}

// mend is what is done about a job whose records are not served.
type mend struct {
	job *job
	// conflict is why they never will be, so that they are deleted again; "" if they are to
	// be added once more.
	conflict string
	// undoes is set if the deletion leaves the zone as it was.
	undoes bool
	again  *job
}

// mend returns what is to be done about a job, nil if it is served as it is to be.
func (z *Zone) mend(j *job, looks map[question]look) *mend {
	if j.op == record.Delete {
		j.dropServed(looks)
		return nil
	}
	m := &mend{job: j, again: newJob(j.client, j.deadline)}
	var lost []record.Record
	for _, q := range j.after {
		l := looks[q]
		missing := l.missing(q, j.given)
		if reason := l.conflict(q); reason != "" && len(missing) > 0 {
			m.conflict = reason
		}
		// What replaces all of an RRset may be replaced by the next that does.
		if j.op == record.Append && q.typ != record.TypeCNAME {
			lost = append(lost, missing...)
		}
	}
	switch {
	case m.conflict != "":
		m.undo(looks)
	case len(lost) == 0:
		return nil
	default:
		for _, r := range lost {
			m.again.update = append(m.again.update, addRR(r))
		}
	}
	for _, rr := range m.again.update {
		m.again.size += dns.Len(rr)
	}
	return m
}

// undo composes the update that takes back what a job has added.
func (m *mend) undo(looks map[question]look) {
	m.undoes = m.job.op != record.Update // of which what it deleted is not known
	for _, r := range m.job.given {
		q := question{r.Name, r.Type}
		l, before := looks[q], m.job.existed[q]
		served := !l.answered || l.serves(r)
		switch {
		case m.job.op != record.Append:
			// What it replaced or deleted is gone, if there was anything; below a delegation that is not known.
			m.undoes = m.undoes && !served && l.cut == ""
			if served {
				continue
			}
		case served && !before.answered:
			m.undoes = false
			continue
		case served && before.serves(r):
			continue
		}
		m.again.update = append(m.again.update, deleteRR(r))
	}
}

// dropServed takes from what a delete has found what is served still: an answer made out of a
// wildcard (RFC 4592) looks as if the name had records of its own.
func (j *job) dropServed(looks map[question]look) {
	var gone []record.Record
	for _, r := range j.records {
		if l := looks[question{r.Name, r.Type}]; !l.serves(r) {
			gone = append(gone, r)
		}
	}
	j.records = gone
}

// mendAll adds once more what was lost to another writer, deletes again what cannot be served,
// and finishes the jobs. What is not served after that is not an error: there may be a cache
// before the server, and others look again later.
func (z *Zone) mendAll(mends []*mend) {
	var again []*job
	for _, m := range mends {
		if m.conflict != "" {
			z.suspects.add(m.job.client, time.Now())
		}
		if len(m.again.update) > 0 {
			again = append(again, m.again)
		}
	}
	finishAll(z.update(again), nil)
	for _, m := range mends {
		if m.conflict != "" {
			m.job.finish(z.conflict(m.conflict, m.undoes && m.again.err == nil))
		}
	}
}
