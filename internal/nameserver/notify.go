package nameserver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/internal/tsig"
)

const (
	// notifyPause is how long an answer to NOTIFY is waited for. A secondary that gives none
	// gets one message in that time, of whichever zone, until it answers: one that was away
	// knows of all changes soon after it is back, however long it was. (RFC 1996 §3.6 says
	// to stop after some tries, and has it learn of them by its refresh timer.)
	notifyPause = time.Second
	// notifyLate is how long an answer is taken for one at all.
	notifyLate = 5 * time.Second
	// notifyWindow is of how many zones a secondary is notified at the same time.
	notifyWindow = 32
	// silenceNoticed is after how long it is logged that a secondary does not answer.
	silenceNoticed = 10 * time.Second
)

// secondary is a server that is notified.
type secondary struct {
	notifier *notifier
	address  netip.AddrPort
	started  bool // guarded by the notifier's lock

	stopped chan struct{} // closed when there is nothing to be told any more
	wake    chan struct{} // holds a token when the queue has got longer
	answers chan []byte

	mu    sync.Mutex // guards what follows, and the fields of each notification
	zones map[*zone]*notification
	// queue has the zones of which it is to be notified, and refused those of which it did
	// not want to know.
	queue, refused notificationList
	silent         time.Time // since when it does not answer; zero: it has answered the last

	// What follows is the goroutine's own.
	conn    *notifySocket
	flights map[uint16]*flight
	// sent is when the last message was sent to a secondary that did not answer, and tried
	// the last of a zone that it had refused.
	sent, tried time.Time
	silence     notices  // of it in the log
	answered    logLimit // with errors
}

// flight is a message that was sent.
type flight struct {
	*notification
	serial uint32
	mac    []byte // of the message, nil if it was not signed
	at     time.Time
	late   bool // no answer was there in time
}

func newSecondary(n *notifier, address netip.AddrPort) *secondary {
	return &secondary{
		notifier: n, address: address,
		stopped: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		answers: make(chan []byte),
		zones:   make(map[*zone]*notification),
		queue:   notificationList{state: notificationQueued},
		refused: notificationList{state: notificationRefused},
		flights: make(map[uint16]*flight),
	}
}

// notificationOf returns the notification of a zone with a key: the one that there is, or a
// new one.
func (s *secondary) notificationOf(z *zone, key tsig.Key) *notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	if told := s.zones[z]; told != nil && told.key == key {
		return told
	}
	return &notification{secondary: s, zone: z, key: key}
}

// configure replaces the zones of which the secondary is notified, and has it told of all.
func (s *secondary) configure(zones map[*zone]*notification) {
	s.mu.Lock()
	for z, told := range s.zones {
		told.dropped = zones[z] != told
	}
	s.zones = zones
	s.queue.clear()
	s.refused.clear()
	for _, told := range zones {
		if told.state != notificationSent {
			s.enqueue(told)
		}
	}
	s.mu.Unlock()
	s.wakeUp()
}

// changed has the secondary notified of a zone.
func (s *secondary) changed(told *notification) {
	s.mu.Lock()
	if told.waiting.IsZero() {
		told.waiting = time.Now()
	}
	done := told.state == notificationDone
	if done {
		s.enqueue(told)
	}
	s.mu.Unlock()
	if done {
		s.wakeUp()
	}
}

func (s *secondary) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // there is a token already
	}
}

// enqueue has a notification be sent after others. The lock is held.
func (s *secondary) enqueue(told *notification) {
	if told.waiting.IsZero() {
		told.waiting = time.Now()
	}
	s.queue.add(told)
}

// describe fills in what the secondary has answered about a zone.
func (s *secondary) describe(z *zone, status *SecondaryStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Silent = s.silent
	if told := s.zones[z]; told != nil {
		status.Acknowledged, status.Known, status.Waiting = told.acknowledged, told.known, told.waiting
		if told.rcode != dns.RcodeSuccess {
			status.Refused = dns.RcodeToString[told.rcode]
		}
	}
}

// run notifies the secondary until it is stopped.
func (s *secondary) run() {
	defer s.hangUp()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(s.proceed(time.Now()))
		select {
		case <-s.stopped:
			return
		case <-s.wake:
		case <-timer.C:
		case answer := <-s.answers:
			s.receive(answer, time.Now())
		}
	}
}

// proceed sends what is to be sent now, and returns how long there is nothing to do if
// nothing happens.
func (s *secondary) proceed(now time.Time) time.Duration {
	inFlight := s.age(now)
	for inFlight < notifyWindow {
		told := s.take(now)
		if told == nil {
			break
		}
		s.send(told, now)
		inFlight++
	}
	return s.nextDue(now, inFlight == notifyWindow)
}

// age notes which messages have not been answered in time, and returns how many may be yet.
func (s *secondary) age(now time.Time) (inFlight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, f := range s.flights {
		age := now.Sub(f.at)
		if age >= notifyLate {
			delete(s.flights, id)
		}
		if age < notifyPause {
			inFlight++
			continue
		}
		if f.late {
			continue
		}
		f.late = true
		s.fail(f.notification, f.at)
	}
	if !s.silent.IsZero() && now.Sub(s.silent) >= silenceNoticed && !s.silence.told && s.silence.fails(now) {
		s.notifier.log.Warn("a secondary does not answer NOTIFY; it is sent one each second until it does. Is it running, and does it allow NOTIFY from this machine?",
			"secondary", s.address.String(), "since", s.silent)
	}
	return inFlight
}

// fail notes that a message has had no answer. The lock is held.
func (s *secondary) fail(told *notification, sent time.Time) {
	told.zone.transferred.unanswered.Add(1)
	if s.silent.IsZero() {
		s.silent = sent
	}
	if told.state == notificationSent && !told.dropped {
		s.enqueue(told)
	}
}

// take returns what is to be sent now, nil if there is nothing.
func (s *secondary) take(now time.Time) *notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.silent.IsZero() {
		if now.Sub(s.sent) < notifyPause {
			return nil
		}
		s.sent = now
	}
	if told := s.queue.take(); told != nil {
		return told
	}
	if now.Sub(s.tried) < notifyPause {
		return nil
	}
	s.tried = now
	return s.refused.take()
}

// nextDue returns how long to wait until something has to be done. full is true while no
// further message may be sent.
func (s *secondary) nextDue(now time.Time, full bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := now.Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	for _, f := range s.flights {
		if f.late {
			earlier(f.at.Add(notifyLate))
		} else {
			earlier(f.at.Add(notifyPause))
		}
	}
	switch {
	case full:
	case !s.silent.IsZero() && len(s.queue.all)+len(s.refused.all) > 0:
		earlier(s.sent.Add(notifyPause))
	case len(s.refused.all) > 0:
		earlier(s.tried.Add(notifyPause))
	}
	return max(due.Sub(now), 0)
}

// send sends NOTIFY of a zone.
func (s *secondary) send(told *notification, now time.Time) {
	id := s.newID()
	serial, message := told.message(id)
	f := &flight{notification: told, serial: serial, at: now}
	if !told.key.IsZero() {
		signer := told.key.NewSigner(nil)
		message = signer.Sign(message, now)
		f.mac = signer.MAC()
	}
	told.zone.transferred.notified.Add(1)
	if err := s.write(message, now); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fail(told, now)
		s.sent = now
		return
	}
	s.flights[id] = f
}

// newID returns an ID that no message has that may still be answered. It is a secret: an
// answer is known by it.
func (s *secondary) newID() uint16 {
	for {
		var b [2]byte
		rand.Read(b[:])
		if id := binary.BigEndian.Uint16(b[:]); s.flights[id] == nil {
			return id
		}
	}
}

// message returns NOTIFY of a zone with its SOA record (RFC 1996 §3.7), and its serial.
func (told *notification) message(id uint16) (serial uint32, message []byte) {
	z := told.zone.current.Load()
	m := binary.BigEndian.AppendUint16(make([]byte, 0, 512), id)
	const opcode = dns.OpcodeNotify << 3
	m = append(m, opcode|flagAA, 0, 0, 1, 0, 1, 0, 0, 0, 0)
	m = append(m, z.zone...)
	m = append(m, 0, byte(dns.TypeSOA), 0, dns.ClassINET)
	soa, _ := z.soa.cacheable.next()
	m = append(m, 0xc0, headerLen, 0, byte(dns.TypeSOA), 0, dns.ClassINET)
	m = binary.BigEndian.AppendUint32(m, soa.ttl)
	m = binary.BigEndian.AppendUint16(m, uint16(len(soa.data)))
	return z.serial, append(m, soa.data...)
}

// receive takes an answer. What is not one to a message that was sent is ignored.
func (s *secondary) receive(answer []byte, now time.Time) {
	if len(answer) < headerLen || answer[2]&(flagResponse|opcodeMask) != flagResponse|dns.OpcodeNotify<<3 {
		return
	}
	id := binary.BigEndian.Uint16(answer)
	f := s.flights[id]
	if f == nil {
		return
	}
	rcode := int(answer[3] & 0xf)
	if err := f.verify(answer, now); err != nil && rcode == dns.RcodeSuccess {
		// Anyone could have sent it. An error may come without a signature.
		s.complain(f, "the answer of a secondary to NOTIFY is ignored", "error", err)
		return
	}
	delete(s.flights, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear(now)
	s.settle(f, rcode)
}

// verify returns nil if an answer is signed as the message was.
func (f *flight) verify(answer []byte, now time.Time) error {
	if f.mac == nil {
		return nil
	}
	start, ok := tsig.Find(answer)
	if !ok {
		return errors.New("it is not signed, and NOTIFY was")
	}
	r, err := tsig.Read(answer, start)
	if err != nil {
		return err
	}
	return f.key.Verify(answer, &r, f.mac, now)
}

// hear notes that the secondary answers. The lock is held.
func (s *secondary) hear(now time.Time) {
	if s.silent.IsZero() {
		return
	}
	if s.silence.over() {
		s.notifier.log.Info("a secondary answers NOTIFY again", "secondary", s.address.String(), "silent", now.Sub(s.silent).Round(time.Second).String())
	}
	s.silent = time.Time{}
}

// settle notes what a secondary has answered. The lock is held.
func (s *secondary) settle(f *flight, rcode int) {
	told := f.notification
	if told.dropped {
		return
	}
	before := told.rcode
	told.rcode = rcode
	if rcode != dns.RcodeSuccess {
		s.refused.add(told)
		s.complain(f, "a secondary does not accept NOTIFY of a zone; it is sent again. Does it have the zone, with this machine as its primary and the same key?", "rcode", dns.RcodeToString[rcode])
		return
	}
	told.acknowledged, told.known = f.serial, true
	if told.zone.current.Load().serial == f.serial {
		told.state, told.waiting = notificationDone, time.Time{}
	} else {
		s.enqueue(told)
	}
	if before != dns.RcodeSuccess { // what was wrong may be right for the others too
		for other := s.refused.take(); other != nil; other = s.refused.take() {
			s.enqueue(other)
		}
	}
}

// complain logs what a secondary has answered, now and then.
func (s *secondary) complain(f *flight, text, what string, value any) {
	if unlogged, ok := s.answered.next(time.Now()); ok {
		s.notifier.log.Warn(text, "secondary", s.address.String(), "zone", f.zone.name.String(), what, value, "unlogged", unlogged)
	}
}
