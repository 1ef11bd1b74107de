package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// maxStreams is how many streams an attacker opens on a connection at once: as many as
// Go's server takes.
const maxStreams = 250

// plenty is a flow-control window larger than what comes back.
const plenty = 1 << 30

// streams is a connection of HTTP/2 over TLS on which the attacker decides about each
// frame, since no HTTP library would send what it does.
type streams struct {
	a    *Attacker
	conn endingConn

	mu      sync.Mutex // guards the following
	changed sync.Cond  // at each frame that comes in, and the end
	framer  *http2.Framer
	out     bytes.Buffer // frames that go out in one write
	block   bytes.Buffer
	encoder *hpack.Encoder
	next    uint32           // stream
	open    map[uint32]int64 // streams without an answer, with what may be sent on them
	window  int64            // of the connection
	initial int64            // window of a stream
	err     error
}

// openStreams opens connection i. window is that of each stream in the direction to
// the attacker; 0 reads nothing of any answer.
func (a *Attacker) openStreams(i int, window uint32) (*streams, error) {
	raw, err := a.dialTCP(i, a.TLS)
	if err != nil {
		return nil, err
	}
	ending := raw.(endingConn)
	secured := tls.Client(ending.Conn, tlsOf("h2"))
	if err := secured.HandshakeContext(a.ctx); err != nil {
		ending.Close()
		a.note("no handshake")
		return nil, err
	}
	s := &streams{
		a: a, conn: endingConn{secured, ending.forget}, next: 1,
		open: make(map[uint32]int64), window: 65535, initial: 65535,
	}
	s.changed.L = &s.mu
	s.framer = http2.NewFramer(&s.out, bufio.NewReader(secured))
	s.framer.SetReuseFrames()
	s.encoder = hpack.NewEncoder(&s.block)
	s.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		s.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		s.framer.WriteWindowUpdate(0, plenty),
		s.flush())
	if err != nil {
		s.close()
		return nil, err
	}
	go s.read()
	return s, nil
}

func (s *streams) close() {
	if s != nil {
		s.conn.Close()
	}
}

func (s *streams) flush() error {
	_, err := s.out.WriteTo(s.conn)
	return err
}

// read takes what comes in until the connection ends.
func (s *streams) read() {
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			s.a.note(f.Value)
		}
	})
	for {
		frame, err := s.framer.ReadFrame()
		s.mu.Lock()
		if err == nil {
			err = s.take(frame, decoder)
		}
		if err != nil && s.err == nil {
			s.err = err
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *streams) take(frame http2.Frame, decoder *hpack.Decoder) error {
	ended := false
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		if _, err := decoder.Write(f.HeaderBlockFragment()); err != nil {
			return err
		}
		ended = f.StreamEnded()
	case *http2.DataFrame:
		ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.a.note("reset")
		ended = true
	case *http2.GoAwayFrame:
		s.a.note("goaway " + f.ErrCode.String())
		return fmt.Errorf("the server gives up: %s", f.ErrCode)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			s.window += int64(f.Increment)
		} else if _, open := s.open[f.StreamID]; open {
			s.open[f.StreamID] += int64(f.Increment)
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if value, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for id := range s.open {
				s.open[id] += int64(value) - s.initial
			}
			s.initial = int64(value)
		}
		return errors.Join(s.framer.WriteSettingsAck(), s.flush())
	case *http2.PingFrame:
		if !f.IsAck() {
			return errors.Join(s.framer.WritePing(true, f.Data), s.flush())
		}
	}
	if ended {
		delete(s.open, frame.Header().StreamID)
	}
	return nil
}

// request opens a stream with a request, once there is room for one. length is that of
// the body, -1 for none.
func (s *streams) request(method, target string, length int) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && len(s.open) >= maxStreams {
		s.changed.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	fields := []hpack.HeaderField{
		{Name: ":method", Value: method},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: noisyHost},
		{Name: ":path", Value: target},
		{Name: "authorization", Value: "Bearer " + s.a.Noisy},
	}
	if length >= 0 {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/json"},
			hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(length)})
	}
	s.block.Reset()
	for _, f := range fields {
		if err := s.encoder.WriteField(f); err != nil {
			return 0, err
		}
	}
	id := s.next
	s.next += 2
	s.open[id] = s.initial
	err := s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Bytes(), EndHeaders: true, EndStream: length < 0})
	return id, errors.Join(err, s.flush())
}

// data sends a part of a body as fast as the windows let it.
func (s *streams) data(id uint32, part []byte, end bool) error {
	const mostOfFrame = 16 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(part) > 0 {
		room := min(s.window, s.open[id], mostOfFrame, int64(len(part)))
		if _, open := s.open[id]; !open {
			return nil // answered already
		}
		if s.err != nil {
			return s.err
		}
		if room <= 0 {
			s.changed.Wait()
			continue
		}
		s.window -= room
		s.open[id] -= room
		err := errors.Join(s.framer.WriteData(id, end && int(room) == len(part), part[:room]), s.flush())
		if err != nil {
			return err
		}
		part = part[room:]
	}
	return nil
}

// reset gives a stream up.
func (s *streams) reset(id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, id)
	return errors.Join(s.framer.WriteRSTStream(id, http2.ErrCodeCancel), s.flush())
}

// changes sends PATCHes with a body on as many streams of connection i at once as the
// server takes. With abandoned, each is reset as soon as it is sent.
func (a *Attacker) changes(i int, body []byte, abandoned bool) {
	for a.ctx.Err() == nil {
		s, err := a.openStreams(i, plenty)
		for err == nil {
			var id uint32
			if id, err = s.request(http.MethodPatch, recordsPath, len(body)); err == nil {
				err = s.data(id, body, true)
			}
			if err == nil && abandoned {
				a.note("abandoned")
				err = s.reset(id)
			}
		}
		s.close()
	}
}

// gets sends GETs on as many streams of connection i at once as the server takes, with
// a window of so many bytes for each answer.
func (a *Attacker) gets(i int, target string, window uint32) {
	for a.ctx.Err() == nil {
		s, err := a.openStreams(i, window)
		for err == nil {
			_, err = s.request(http.MethodGet, target, -1)
		}
		s.close()
	}
}

// unfinished opens PATCHes on so many streams of connection i, sends a part of each of
// their bodies, and closes the connection after a time, again and again.
func (a *Attacker) unfinished(i, count int, part []byte, after time.Duration) {
	for a.ctx.Err() == nil {
		s, err := a.openStreams(i, plenty)
		began := time.Now()
		for k := 0; err == nil && k < count; k++ {
			var id uint32
			if id, err = s.request(http.MethodPatch, recordsPath, 1<<20); err == nil {
				a.note("opened")
				err = s.data(id, part, false)
			}
		}
		if err == nil {
			wait(a.ctx, time.Until(began.Add(after)))
		}
		s.close()
	}
}
