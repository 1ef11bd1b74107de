package nameserver

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
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
	listener net.Listener
	socket   *Socket
	open     sync.WaitGroup // connections

	mu    sync.Mutex // guards the following
	ended bool
	conns map[*connection]struct{}
}

// serve accepts connections. Each is served in a goroutine of its own.
func (l *tcpListener) serve() error {
	for {
		conn, err := l.accept()
		if err != nil {
			return err
		}
		l.socket.trouble.works()
		l.begin(conn)
	}
}

// accept waits for a connection. Errors that are about one of them are not the
// socket's.
func (l *tcpListener) accept() (net.Conn, error) {
	for i := 1; ; i++ {
		conn, err := l.listener.Accept()
		if err == nil || !aboutOne(err) {
			return conn, err
		}
		if i%restEvery == 0 {
			time.Sleep(rest)
		}
	}
}

// begin serves a connection, if there is room for it.
func (l *tcpListener) begin(conn net.Conn) {
	server := l.socket.current.Load()
	c, ok := server.connections.admit(conn)
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
		defer l.forget(c)
		defer c.release()
		defer func() {
			if recovered := recover(); recovered != nil {
				server.logPanic(recovered, nil)
			}
		}()
		l.serveConn(c)
	})
}

func (l *tcpListener) forget(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// shutdown closes the socket, and each connection after the query that is being
// answered on it.
func (l *tcpListener) shutdown() {
	l.mu.Lock()
	l.ended = true
	l.listener.Close()
	for c := range l.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	l.mu.Unlock()
	l.open.Wait()
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
		server := l.socket.current.Load()
		if !c.join(server.connections) {
			return
		}
		c.setBusy()
		answer = c.answerTCP(server, query, answer[:0])
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

// largeAnswers are those of several kilobytes that are being made, on half of the
// processors: one of 64 kB takes a good part of a millisecond, and a thousand
// connections can ask for it at the same time. With all processors at them, whatever
// else the process does would wait.
var largeAnswers = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// answerTCP appends a server's answer to a message to buf with its length before it,
// nothing where there must be none. Where it has to wait for others, the connection
// counts as idle: it may make room for one that asks for less.
func (c *connection) answerTCP(server *Server, message, buf []byte) []byte {
	buf, large := appendAnswer(server, message, buf, false)
	if !large {
		return buf
	}
	// It waits without a responder, of which there may be as many as connections.
	c.setIdle()
	select {
	case largeAnswers <- struct{}{}:
	case <-c.evicted: // or those that wait would be more than there may be connections
		return buf
	}
	defer func() { <-largeAnswers }()
	c.setBusy()
	buf, _ = appendAnswer(server, message, buf, true)
	return buf
}

// appendAnswer is [responder.answerTCP] by a responder of a server, with the length of
// the answer before it.
func appendAnswer(server *Server, message, buf []byte, allowed bool) ([]byte, bool) {
	r := responders.Get().(*responder)
	r.server = server
	answer, large := r.answerTCP(message, allowed)
	if answer != nil {
		buf = append(binary.BigEndian.AppendUint16(buf, uint16(len(answer))), answer...)
	}
	r.server = nil // which may be closed before the next message
	responders.Put(r)
	return buf, large
}
