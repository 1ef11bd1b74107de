package neighbour

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-dns/bestdns/e2e/internal/harness"
)

// The stream of questions: so many a second, and how long an answer may take before
// the question counts as unanswered, as resolvers have it.
const (
	questionsPerSecond    = 500
	tcpQuestionsPerSecond = 10
	answerTimeout         = 2 * time.Second
)

// question is a question for a name of the operator, and the address that answers it,
// "" for a name that does not exist.
type question struct {
	message []byte
	want    string
}

// operatorNames has the operator write names, and returns questions for them.
func (n *Neighbourhood) operatorNames() []question {
	n.t.Helper()
	const names = 100
	body := []byte(`{"set":[`)
	var questions []question
	for i := range names {
		address := fmt.Sprintf("192.0.2.%d", i+1)
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"name":"n%d.other","type":"A","data":%q}`, i, address)
		questions = append(questions, questionFor(fmt.Sprintf("n%d.other.%s.", i, harness.HostedZone), dns.TypeA, address))
		if i%10 == 0 {
			questions = append(questions, questionFor(fmt.Sprintf("none%d.other.%s.", i, harness.HostedZone), dns.TypeA, ""))
		}
	}
	conn, err := dialHTTP(n.t.Context(), n.API)
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.exchange(patchRequest(n.Operator, append(body, "]}"...)), http.StatusOK); err != nil {
		n.t.Fatalf("writing the names that are asked for: %v", err)
	}
	return questions
}

// questionFor makes a question.
func questionFor(name string, typ uint16, want string) question {
	message, err := new(dns.Msg).SetQuestion(name, typ).Pack()
	if err != nil {
		panic(err) // the names are all here
	}
	return question{message, want}
}

// check reports what is wrong with the answer to a question.
func (q question) check(message []byte) error {
	answer := new(dns.Msg)
	if err := answer.Unpack(message); err != nil {
		return err
	}
	asked := new(dns.Msg)
	if err := asked.Unpack(q.message); err != nil {
		return err
	}
	if len(answer.Question) != 1 || answer.Question[0] != asked.Question[0] {
		return fmt.Errorf("the answer is to another question: %v", answer.Question)
	}
	if q.want == "" {
		if answer.Rcode != dns.RcodeNameError {
			return fmt.Errorf("a name that does not exist is answered %s", dns.RcodeToString[answer.Rcode])
		}
		return nil
	}
	if len(answer.Answer) == 1 {
		if a, ok := answer.Answer[0].(*dns.A); ok && a.A.String() == q.want {
			return nil
		}
	}
	return fmt.Errorf("%s is answered %s %v", asked.Question[0].Name, dns.RcodeToString[answer.Rcode], answer.Answer)
}

// errUnansweredQuestion is a question that got no answer in time.
var errUnansweredQuestion = errors.New("no answer within " + answerTimeout.String())

// askUDP asks the questions by UDP at an even rate, whatever becomes of those before,
// until the context ends; the last ones are waited for.
func (n *Neighbourhood) askUDP(ctx context.Context, questions []question, to *samples) error {
	conn, err := net.Dial("udp", n.DNS)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20) // what the system does not give, the test does without

	var mu sync.Mutex
	type flight struct {
		question question
		began    time.Time
	}
	inFlight := make(map[uint16]flight)
	var receiving sync.WaitGroup
	receiving.Go(func() {
		buf := make([]byte, 65536)
		for {
			length, err := conn.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || length < 12 {
				// A port that is closed: the question counts as unanswered. Not at once
				// again, or this would take a core.
				wait(ctx, time.Millisecond)
				continue
			}
			id := binary.BigEndian.Uint16(buf)
			mu.Lock()
			f, known := inFlight[id]
			delete(inFlight, id)
			mu.Unlock()
			took := time.Since(f.began)
			if !known {
				continue // counted as unanswered already
			}
			err = f.question.check(buf[:length])
			if took > answerTimeout {
				err = errUnansweredQuestion
			}
			to.add(waited{f.began, took, err})
		}
	})

	expire := func(now time.Time) {
		mu.Lock()
		defer mu.Unlock()
		for id, f := range inFlight {
			if took := now.Sub(f.began); took > answerTimeout {
				delete(inFlight, id)
				to.add(waited{f.began, took, errUnansweredQuestion})
			}
		}
	}
	tick := time.NewTicker(time.Second / questionsPerSecond)
	defer tick.Stop()
	start, sent := time.Now(), 0
	for ctx.Err() == nil {
		now := time.Now()
		for due := int(now.Sub(start).Seconds() * questionsPerSecond); sent < due; sent++ {
			q, id := questions[sent%len(questions)], uint16(sent)
			message := append(binary.BigEndian.AppendUint16(nil, id), q.message[2:]...)
			mu.Lock()
			inFlight[id] = flight{q, time.Now()}
			mu.Unlock()
			_, _ = conn.Write(message) // what is not sent is not answered
		}
		if sent%questionsPerSecond == 0 {
			expire(now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for deadline := time.Now().Add(answerTimeout + time.Second); time.Now().Before(deadline); <-tick.C {
		expire(time.Now())
		mu.Lock()
		rest := len(inFlight)
		mu.Unlock()
		if rest == 0 {
			break
		}
	}
	conn.Close()
	receiving.Wait()
	return nil
}

// askTCP asks a few of the questions by TCP, each on a connection of its own, until
// the context ends.
func (n *Neighbourhood) askTCP(ctx context.Context, questions []question, to *samples) {
	tick := time.NewTicker(time.Second / tcpQuestionsPerSecond)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		q := questions[i%len(questions)]
		asking.Go(func() {
			began := time.Now()
			err := q.overTCP(n.DNS)
			to.add(waited{began, time.Since(began), err})
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (q question) overTCP(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, answerTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerTimeout))
	if err := harness.WriteMessage(conn, q.message); err != nil {
		return err
	}
	answer, err := harness.ReadMessage(conn)
	if err != nil {
		return err
	}
	return q.check(answer)
}
