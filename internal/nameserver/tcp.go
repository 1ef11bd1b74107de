package nameserver

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// tcpIdle is how long a TCP connection may wait between queries (RFC 7766 §6.2.3).
	tcpIdle = 8 * time.Second
	// tcpRead is how long the first query may take to come, and the rest of any after
	// its beginning.
	tcpRead = 2 * time.Second
	// tcpWrite is how long a client may take to take an answer.
	tcpWrite = 4 * time.Second
	// tcpReadAhead is how much of what a client sends without waiting for the answers
	// (RFC 7766 §6.2.1.1) is read at once. Most queries have less than 100 octets.
	tcpReadAhead = 1024
)

// tcpListener is a TCP listener that is being served.
type tcpListener struct {
	socket net.Listener
	server *Server
	open   sync.WaitGroup // connections

	mu    sync.Mutex // guards the following
	ended bool
	conns map[*connection]struct{}
}

// serve accepts connections until the socket is closed.
func (l *tcpListener) serve() error {
	defer l.open.Wait()
	defer l.shutdown()
	for pause := 5 * time.Millisecond; ; {
		conn, err := l.socket.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			l.begin(conn)
			continue
		}
		// Temporary is how net says that the process has too many files open.
		var passing interface{ Temporary() bool }
		if l.hasEnded() || !errors.As(err, &passing) || !passing.Temporary() {
			return l.orNil(err)
		}
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}

// orNil returns nil for the error that there is after shutdown.
func (l *tcpListener) orNil(err error) error {
	if l.hasEnded() {
		return nil
	}
	return err
}

func (l *tcpListener) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// begin serves a connection, if there is room for it.
func (l *tcpListener) begin(conn net.Conn) {
	c, ok := l.server.connections.admit(conn)
	if !ok {
		conn.Close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		c.release()
		return
	}
	l.conns[c] = struct{}{}
	l.open.Go(func() {
		l.serveConn(c)
		c.release()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	})
}

// shutdown closes the socket, and each connection after the query that is being
// answered on it.
func (l *tcpListener) shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.socket.Close()
	for c := range l.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// serveConn answers the queries that come by a connection, one after the other,
// until it ends.
func (l *tcpListener) serveConn(c *connection) {
	reader := bufio.NewReaderSize(c, tcpReadAhead)
	var query, answer []byte
	for patience := tcpRead; ; patience = tcpIdle {
		var err error
		if query, err = l.read(c, reader, query, patience); err != nil {
			return
		}
		c.setBusy()
		answer = l.answer(query, answer[:0])
		if len(answer) == 0 {
			return // who sends what cannot be answered is not one to wait for
		}
		_ = c.SetWriteDeadline(time.Now().Add(tcpWrite))
		if _, err := c.Write(answer); err != nil {
			return
		}
		if cap(answer) > maxQuery {
			answer = nil // many connections must not keep what one large answer took
		}
		c.setIdle()
	}
}

// read reads a message into buf, which it returns, another one where buf is too short.
func (l *tcpListener) read(c *connection, reader *bufio.Reader, buf []byte, patience time.Duration) ([]byte, error) {
	var length [2]byte
	if err := l.extend(c, patience); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(reader, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxQuery {
		return nil, errors.New("a query that is too long")
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	if reader.Buffered() < n {
		if err := l.extend(c, tcpRead); err != nil {
			return nil, err
		}
	}
	_, err := io.ReadFull(reader, buf[:n])
	return buf[:n], err
}

// extend gives a client more time, unless serving has ended: what shutdown has set
// must stay.
func (l *tcpListener) extend(c *connection, by time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return net.ErrClosed
	}
	return c.SetReadDeadline(time.Now().Add(by))
}

// responders are those of TCP connections. A connection has one only while a message
// is being answered, so that many of them do not keep what large answers took.
var responders = sync.Pool{New: func() any { return new(responder) }}

// answer appends the answer to a message to buf with its length before it, nothing
// where there must be none.
func (l *tcpListener) answer(message, buf []byte) []byte {
	r := responders.Get().(*responder)
	defer responders.Put(r)
	r.server = l.server
	m := r.answerTCP(message)
	if m == nil {
		return buf
	}
	return append(binary.BigEndian.AppendUint16(buf, uint16(len(m))), m...)
}
