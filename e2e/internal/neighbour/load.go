package neighbour

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// Attacker is the noisy client while it attacks: what its connections have in common.
// It ends with its context.
type Attacker struct {
	*Neighbourhood
	ctx     context.Context
	answers tally // to its requests and questions: statuses, and what else came of them
}

// attackerAddr is the address from which a connection of the attacker comes: one each,
// so that what an address may do at most is no limit of it.
func attackerAddr(i int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(i))}
}

// dial connects to the API as connection i, until the attack ends.
func (a *Attacker) dial(i int, addr string) (*httpConn, error) {
	conn, err := a.dialTCP(i, addr)
	if err != nil {
		return nil, err
	}
	return &httpConn{conn, bufio.NewReader(conn)}, nil
}

// dialTCP connects, and closes the connection at the end of the attack. One that
// failed is not tried again at once, or the attacker would take the service's cores.
func (a *Attacker) dialTCP(i int, addr string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: attackerAddr(i)}
	conn, err := dialer.DialContext(a.ctx, "tcp", addr)
	if err != nil {
		a.note("no connection")
		wait(a.ctx, 10*time.Millisecond)
		return nil, err
	}
	return endingConn{conn, context.AfterFunc(a.ctx, func() { conn.Close() })}, nil
}

// endingConn is a connection that is closed at the end of a context too.
type endingConn struct {
	net.Conn
	forget func() bool
}

func (c endingConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// note counts what came of a request, unless the end of the attack did.
func (a *Attacker) note(what string) {
	if a.ctx.Err() == nil {
		a.answers.add(what)
	}
}

// requests sends one request after the other on connection i, waiting for each
// answer, until the attack ends. next makes the request of a number; it is sent before
// the next one is made, so that one buffer is enough.
func (a *Attacker) requests(i int, next func(k int) []byte) {
	var conn *httpConn
	defer func() { conn.close() }()
	for k := 0; a.ctx.Err() == nil; k++ {
		if conn == nil {
			var err error
			if conn, err = a.dial(i, a.API); err != nil {
				continue
			}
		}
		request := next(k)
		_, sendErr := conn.Write(request)
		if sendErr != nil {
			// It may have been answered before all of it was there.
			conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		status, _, err := conn.read(methodOf(request))
		if status != 0 {
			a.note(strconv.Itoa(status))
		} else {
			a.note("closed")
		}
		if err != nil || sendErr != nil {
			conn.close()
			conn = nil
		}
	}
}

// fill appends so many records before the attack, or as many as the service takes, and
// atOnce in each change as long as it takes that many. What is refused is what the
// attack has to do without.
func (a *Attacker) fill(count, atOnce int, record func(i int) string) {
	const patience = 30 * time.Second
	deadline := time.Now().Add(patience)
	conn, err := dialHTTP(a.ctx, a.API)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	for from := 0; from < count; {
		atOnce = min(atOnce, count-from)
		body := changeOf("append", atOnce, func(i int) string { return record(from + i) })
		status, text := 0, []byte(nil)
		if _, err = conn.Write(patchRequest(a.Noisy, body)); err == nil {
			status, text, err = conn.read(http.MethodPatch)
		}
		switch {
		case status == http.StatusOK && err == nil:
			from += atOnce
		case (status == http.StatusConflict || status == http.StatusRequestEntityTooLarge) && err == nil && atOnce > 1:
			atOnce /= 2
		case (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) && err == nil && time.Now().Before(deadline):
			wait(a.ctx, 100*time.Millisecond)
		default:
			a.t.Logf("set-up: %d of %d records, then %d %s (%v)", from, count, status, text, err)
			return
		}
	}
}

// udp asks one question after the other by UDP, waiting for each answer.
func (a *Attacker) udp(next func(k int) []byte) {
	conn, end, err := a.dialUDP()
	if err != nil {
		return
	}
	defer end()
	buf := make([]byte, 65536)
	for k := 0; a.ctx.Err() == nil; k++ {
		conn.SetDeadline(time.Now().Add(time.Second))
		message := next(k)
		binary.BigEndian.PutUint16(message, uint16(k))
		_, err := conn.Write(message)
		for n := 0; err == nil; { // answers to those before may still come
			if n, err = conn.Read(buf); err == nil && n > 3 && binary.BigEndian.Uint16(buf) == uint16(k) {
				a.note(rcodeOf(buf))
				break
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.note("no answer")
		case err != nil:
			a.note("no server")
			wait(a.ctx, 10*time.Millisecond)
		}
	}
}

// flood asks so many questions a second by UDP, whatever comes back.
func (a *Attacker) flood(perSecond int, next func(k int) []byte) {
	conn, end, err := a.dialUDP()
	if err != nil {
		return
	}
	defer end()
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		buf := make([]byte, 65536)
		for a.ctx.Err() == nil {
			if n, err := conn.Read(buf); err != nil {
				wait(a.ctx, 10*time.Millisecond) // no server, or the end
			} else if n > 3 {
				a.note(rcodeOf(buf))
			}
		}
	})
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for k := 0; ; k++ {
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return
		}
		message := next(k)
		binary.BigEndian.PutUint16(message, uint16(k))
		if _, err := conn.Write(message); err == nil {
			a.note("asked")
		}
	}
}

// dialUDP returns a socket that is closed at the end of the attack, or by end.
func (a *Attacker) dialUDP() (conn net.Conn, end func(), err error) {
	if conn, err = net.Dial("udp", a.DNS); err != nil {
		a.note("no connection")
		return nil, nil, err
	}
	forget := context.AfterFunc(a.ctx, func() { conn.Close() })
	return conn, func() { forget(); conn.Close() }, nil
}

// tcp asks one question after the other by TCP on connection i, waiting for each
// answer.
func (a *Attacker) tcp(i int, next func(k int) []byte) {
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for k := 0; a.ctx.Err() == nil; k++ {
		if conn == nil {
			var err error
			if conn, err = a.dialTCP(i, a.DNS); err != nil {
				continue
			}
		}
		err := harness.WriteMessage(conn, next(k))
		var answer []byte
		if err == nil {
			answer, err = harness.ReadMessage(conn)
		}
		if err != nil {
			a.note("closed")
			conn.Close()
			conn = nil
			continue
		}
		a.note(rcodeOf(answer))
	}
}

// rcodeOf says how a DNS message answers.
func rcodeOf(message []byte) string {
	text := fmt.Sprintf("rcode %d", message[3]&15)
	if message[2]&2 != 0 {
		text += " TC"
	}
	return text
}

// hold opens connection i, sends what first says, and then a piece every so often,
// reading nothing, until the service or the attack ends it; and then again. Without a
// piece it comes again after that time, since it does not see what the service does.
func (a *Attacker) hold(i int, addr string, first []byte, every time.Duration, piece []byte) {
	for a.ctx.Err() == nil {
		conn, err := a.dialTCP(i, addr)
		if err != nil {
			continue
		}
		readLittle(conn)
		a.note("opened")
		for text := first; err == nil && a.ctx.Err() == nil; text = piece {
			if len(text) == 0 {
				break
			}
			_, err = conn.Write(text)
			wait(a.ctx, every)
		}
		conn.Close()
	}
}

// readLittle has the system take little of what the service sends.
func readLittle(conn net.Conn) {
	if c, ok := conn.(endingConn).Conn.(*net.TCPConn); ok {
		_ = c.SetReadBuffer(4 << 10) // otherwise the attack is weaker
	}
}

// sip reads so many bytes in each interval of what is answered to a request.
func (a *Attacker) sip(i int, request []byte, size int, every time.Duration) {
	for a.ctx.Err() == nil {
		conn, err := a.dialTCP(i, a.API)
		if err != nil {
			continue
		}
		readLittle(conn)
		_, err = conn.Write(request)
		buf := make([]byte, size)
		for err == nil {
			_, err = io.ReadFull(conn, buf)
			wait(a.ctx, every)
		}
		conn.Close()
		a.note("closed")
	}
}
