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
	// (RFC 7766 §6.2.1.1) is read at once. Most queries have less than 100 bytes.
	tcpReadAhead = 1024
)

// tcpListener is a TCP listener that is being served.
type tcpListener struct {
	listener net.Listener
	socket   *Socket
	open     sync.WaitGroup // connections

	// stopping is closed when serving ends.
	stopping chan struct{}

	mu    sync.Mutex // guards the following, and that stopping is closed once
	conns map[*connection]struct{}
}

func newTCPListener(listener net.Listener, socket *Socket) *tcpListener {
	return &tcpListener{listener: listener, socket: socket, stopping: make(chan struct{}), conns: make(map[*connection]struct{})}
}

// serve accepts connections. Each is served in a goroutine of its own.
func (l *tcpListener) serve() error {
	for {
		conn, err := readOn(l.listener.Accept)
		if err != nil {
			return err
		}
		l.socket.errors.succeeded()
		l.begin(conn)
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
	c.stopping = l.stopping
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hasEnded() {
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

// shutdown closes the socket, and each connection after the message that is being sent
// on it. Transfers that wait for others are given up.
func (l *tcpListener) shutdown() {
	l.mu.Lock()
	if !l.hasEnded() {
		close(l.stopping)
	}
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
	var query, buf []byte
	x := &tcpQuery{connection: c}
	defer x.end()
	defer c.leaveUpdates()
	for timeout := tcpRead; ; timeout = tcpIdle {
		var err error
		if query, err = l.read(c, reader, query, timeout); err != nil {
			return
		}
		server := l.socket.current.Load()
		if !c.join(server.connections) {
			return
		}
		c.setBusy()
		if isUpdate(query) && server.view.Load().clients != nil {
			err = l.answerUpdate(c, server, query)
		} else {
			x.query = query
			buf, err = l.answer(c, server, x.next, buf)
			x.end()
		}
		if err != nil {
			return
		}
		if cap(query) > maxQuery {
			query = nil // many connections must not keep what one large message took
			c.leaveUpdates()
		}
		c.setIdle()
	}
}

// answerUpdate answers an update, however long that takes.
func (l *tcpListener) answerUpdate(c *connection, server *Server, update []byte) error {
	answer := server.updateByTCP(update, c.address)
	if len(answer) == 0 {
		return errNoMessage
	}
	_ = c.SetWriteDeadline(time.Now().Add(tcpWrite))
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}

// tcpQuery is a query that came by a connection, and what its answer has come to. It is used
// again for the next one.
type tcpQuery struct {
	connection *connection
	query      []byte
	transfer   *transfer // that the answer is, nil for any other
}

// next makes the next message of the answer. It is a nextMessage.
func (x *tcpQuery) next(r *responder, allowed bool) (message []byte, large, more bool) {
	r.from = x.connection.address
	if x.transfer == nil {
		message, large, x.transfer = r.answerTCP(x.query, allowed)
	}
	if x.transfer == nil {
		return message, large, false
	}
	defer r.recoverPanic(x.query, &message)
	x.connection.transferring = x.transfer.large
	return x.transfer.next(r, allowed)
}

// end is called when the query has been answered.
func (x *tcpQuery) end() {
	x.transfer = nil
	x.connection.leaveTransfers()
}

// nextMessage makes the next message of an answer, nil if there must be none, and
// reports whether it is large and whether another one follows. A large one is made only
// if it is allowed; if it is not, that it is large is all that is returned, and the same
// one is asked for again. The bytes are those of the responder, until that makes another
// message.
type nextMessage func(r *responder, allowed bool) (message []byte, large, more bool)

// errNoMessage ends the connection of a client that is not to be waited for: it sends
// what cannot be answered, or had to make room.
var errNoMessage = errors.New("no message to send")

// answer sends all messages of a server's answer, each when the client has taken the one
// before, so that memory has one of them. The buffer is used again.
func (l *tcpListener) answer(c *connection, server *Server, next nextMessage, buf []byte) ([]byte, error) {
	for {
		var more bool
		if buf, more = c.makeMessage(server, next, buf[:0]); len(buf) == 0 {
			return nil, errNoMessage
		}
		_ = c.SetWriteDeadline(time.Now().Add(tcpWrite))
		if _, err := c.Write(buf); err != nil {
			return nil, err
		}
		if cap(buf) > maxQuery {
			buf = nil // many connections must not keep what one large message took
		}
		if !more {
			return buf, nil
		}
		if l.hasEnded() {
			return nil, net.ErrClosed
		}
	}
}

func (l *tcpListener) hasEnded() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// read reads a message into buf, which it returns, another one where buf is too short.
func (l *tcpListener) read(c *connection, reader *bufio.Reader, buf []byte, timeout time.Duration) ([]byte, error) {
	var length [2]byte
	if err := l.extend(c, timeout); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(reader, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxQuery {
		return l.readLong(c, reader, n)
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

// readLong reads an update that is longer than a query may be. Who sends it is known only when it is
// there, so few are read at a time.
func (l *tcpListener) readLong(c *connection, reader *bufio.Reader, n int) ([]byte, error) {
	if err := l.extend(c, tcpRead); err != nil {
		return nil, err
	}
	server := l.socket.current.Load()
	if head, err := reader.Peek(headerLen); err != nil || !isUpdate(head) || server.view.Load().clients == nil {
		return nil, errors.New("a query that is too long")
	}
	if !server.updatePlaces.take(c) {
		return nil, errNoMessage
	}
	c.updatePlaces = server.updatePlaces
	if err := l.extend(c, tcpRead); err != nil {
		return nil, err
	}
	buf := make([]byte, n)
	_, err := io.ReadFull(reader, buf)
	return buf, err
}

// extend gives a client more time, unless serving has ended: what shutdown has set
// must stay.
func (l *tcpListener) extend(c *connection, by time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hasEnded() {
		return net.ErrClosed
	}
	return c.SetReadDeadline(time.Now().Add(by))
}

// responders are those of TCP connections. A connection has one only while a message
// is being answered, so that many of them do not keep what large answers took.
var responders = sync.Pool{New: func() any { return new(responder) }}

// largeAnswers are the messages of several kilobytes that are being made, on half of the
// processors: one of 64 kB takes a good part of a millisecond, and a thousand
// connections can ask for it at the same time. With all processors at them, whatever
// else the process does would wait.
var largeAnswers = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// makeMessage appends the next message of a server's answer to buf with its length
// before it, nothing if there must be none. While it waits for other large ones, the
// connection counts as idle: it may make room for one that asks for less.
func (c *connection) makeMessage(server *Server, next nextMessage, buf []byte) (_ []byte, more bool) {
	buf, large, more := appendMessage(server, next, buf, false)
	if !large {
		return buf, more
	}
	// It waits without a responder, of which there may be as many as connections.
	if !c.joinTransfers(server) {
		return buf, false
	}
	c.setIdle()
	select {
	case largeAnswers <- struct{}{}:
	case <-c.evicted: // or those that wait would be more than there may be connections
		return buf, false
	}
	defer func() { <-largeAnswers }()
	c.setBusy()
	buf, _, more = appendMessage(server, next, buf, true)
	return buf, more
}

// appendMessage has a responder of a server make the next message.
func appendMessage(server *Server, next nextMessage, buf []byte, allowed bool) (_ []byte, large, more bool) {
	r := responders.Get().(*responder)
	r.server = server
	message, large, more := next(r, allowed)
	if message != nil {
		buf = append(binary.BigEndian.AppendUint16(buf, uint16(len(message))), message...)
	}
	r.server = nil // which may be closed before the next message
	responders.Put(r)
	return buf, large, more
}
