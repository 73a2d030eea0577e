package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ftgw/ftgw/state"
)

// serveEvents sends the state at once and then at intervals, until the reader goes or takes nothing.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case s.viewers <- struct{}{}:
		defer func() { <-s.viewers }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are live already: close one", maxViewers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Time{}) != nil { // what is read is that the reader is still there
		return
	}
	ticker := time.NewTicker(s.cfg.Every)
	defer ticker.Stop()
	fmt.Fprint(w, "retry: 1000\n\n") // comes to light at the first Flush
	for {
		text, err := s.status()
		if err != nil || control.SetWriteDeadline(time.Now().Add(s.cfg.Patience)) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) status() ([]byte, error) {
	text, err := json.Marshal(s.cfg.Status())
	if err != nil {
		return nil, fmt.Errorf("write status: %w", err)
	}
	return text, nil
}

// Recent returns a function that says what source said, at most as long ago as age, so that many
// readers cost the node no more than one. What it returns is shared and must not be changed.
func Recent(source func() state.Status, age time.Duration) func() state.Status {
	var mu sync.Mutex
	var last state.Status
	var at time.Time
	return func() state.Status {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); at.IsZero() || now.Sub(at) >= age {
			last, at = source(), now
		}
		return last
	}
}
