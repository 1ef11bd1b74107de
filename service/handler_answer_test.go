package service

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-dns/bestdns/internal/hosting"
	"github.com/caddy-dns/bestdns/internal/record"
)

// slowWriter is a ResponseWriter to a client that takes each piece in a time, or fails
// at the deadline.
type slowWriter struct {
	http.ResponseWriter
	each     time.Duration
	deadline time.Time
	pieces   int
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	taken := time.Now().Add(w.each)
	if !w.deadline.IsZero() && taken.After(w.deadline) {
		time.Sleep(time.Until(w.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(w.each)
	w.pieces++
	return len(b), nil
}

// TestReaderWithoutProgress: a client that takes nothing is cut off after ten seconds,
// and one that is slow is not.
func TestReaderWithoutProgress(t *testing.T) {
	data := string(make([]byte, 1000))
	forever := func(yield func(hosting.Entry) bool) {
		for yield(hosting.Entry{Owner: record.Root, Data: data}) {
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{ResponseWriter: httptest.NewRecorder(), each: time.Hour}
		out := newProgressWriter(w, httptest.NewRequest(http.MethodGet, "/", nil))
		began := time.Now()
		if err := streamRecords(out, record.Root, forever); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != progressTimeout {
			t.Errorf("one that takes nothing: %v after %s", err, time.Since(began))
		}
		out.end()
		if !w.deadline.IsZero() {
			t.Error("the deadline stays on the connection")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{ResponseWriter: httptest.NewRecorder(), each: 9 * time.Second}
		page := make([]byte, 100*writePiece+1)
		if n, err := newProgressWriter(w, httptest.NewRequest(http.MethodGet, "/", nil)).Write(page); n != len(page) || err != nil || w.pieces != 101 {
			t.Errorf("one that is slow: %d bytes in %d pieces, %v", n, w.pieces, err)
		}
	})
}
