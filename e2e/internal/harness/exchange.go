package harness

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// ExchangeTimeout is how long a name server may take for an answer. It allows for a
// machine with other things to do.
const ExchangeTimeout = 20 * time.Second

// AskAll sends all of the messages to a server by TCP, over some connections at
// once, and returns the answers in the order of the messages.
func AskAll(t testing.TB, addr string, messages [][]byte) [][]byte {
	t.Helper()
	const connections = 8
	answers := make([][]byte, len(messages))
	errs := make([]error, connections)
	share := (len(messages) + connections - 1) / connections
	var asking sync.WaitGroup
	for i := range connections {
		from, to := min(i*share, len(messages)), min((i+1)*share, len(messages))
		asking.Go(func() { errs[i] = AskOver(addr, messages[from:to], answers[from:to]) })
	}
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatalf("asking %s: %v", addr, err)
		}
	}
	return answers
}

// AskOver asks one question after the other on one connection. (Several at once
// would be no faster: where a server does not set TCP_NODELAY, its second answer
// waits for our delayed acknowledgement of the first.)
func AskOver(addr string, messages, answers [][]byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for i, m := range messages {
		conn.SetDeadline(time.Now().Add(ExchangeTimeout))
		if err := WriteMessage(conn, m); err != nil {
			return err
		}
		if answers[i], err = ReadMessage(conn); err != nil {
			return fmt.Errorf("question %d: %w", i, err)
		}
		if string(answers[i][:2]) != string(m[:2]) {
			return fmt.Errorf("question %d with the ID %x: the answer has the ID %x", i, m[:2], answers[i][:2])
		}
	}
	return nil
}

// AskAllUDP does the same by UDP, some questions at a time, as a resolver does that
// has several clients. Any so many in a row need IDs of their own.
func AskAllUDP(t testing.TB, addr string, messages [][]byte) [][]byte {
	t.Helper()
	const atOnce = 20
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := make([][]byte, len(messages))
	buf := make([]byte, 65536)
	for i := 0; i < len(messages); i += atOnce {
		conn.SetDeadline(time.Now().Add(ExchangeTimeout))
		waiting := make(map[string]int)
		for j, m := range messages[i:min(i+atOnce, len(messages))] {
			if _, err := conn.Write(m); err != nil {
				t.Fatalf("asking %s by UDP: %v", addr, err)
			}
			waiting[string(m[:2])] = i + j
		}
		for len(waiting) > 0 {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("asking %s by UDP: %d of %d questions from %d on are not answered: %v", addr, len(waiting), atOnce, i, err)
			}
			place, ok := waiting[string(buf[:min(n, 2)])]
			if n < 12 || !ok {
				t.Fatalf("asking %s by UDP: %q answers no question", addr, buf[:n])
			}
			answers[place] = append([]byte(nil), buf[:n]...)
			delete(waiting, string(buf[:2]))
		}
	}
	return answers
}

// WriteMessage writes a DNS message and its length to a TCP connection, in one
// segment.
func WriteMessage(conn io.Writer, m []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
	return err
}

// ReadMessage reads a DNS message and its length from a TCP connection.
func ReadMessage(conn io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, m); err != nil {
		return nil, err
	}
	if len(m) < 12 {
		return nil, fmt.Errorf("a message of %d bytes", len(m))
	}
	return m, nil
}
