// Package web is the page that shows a node in a browser, live, and what else is on its port:
//
//	/             the page, self-contained
//	/events       the node's state once a second, by server-sent events
//	/status.json  the node's state once
//	/metrics      for Prometheus
//
// Nothing can be changed by it. It asks for no password, so it belongs on the loopback or on a
// network of operators; on the loopback it answers only to names of the loopback, so that no page of
// a stranger can read it through the operator's browser by a name that it points there (DNS
// rebinding).
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ftgw/ftgw/state"
)

const (
	maxConnections = 128
	maxViewers     = 16       // pages that are live at once; more get a 503
	maxHead        = 16 << 10 // bytes of a request
)

// Config is what New needs.
type Config struct {
	// Status says what is true now; it is called from several goroutines. See Recent.
	Status   func() state.Status
	Metrics  http.Handler  // of /metrics
	Every    time.Duration // between two events; default 1 s
	Patience time.Duration // a reader that takes nothing for so long is dropped; default 5 s
	Log      *slog.Logger
}

// Server serves the page.
type Server struct {
	cfg     Config
	page    page
	viewers chan struct{} // a token for each
}

// New returns a Server, which does nothing until Run.
func New(cfg Config) *Server {
	cfg.Every = cmp.Or(cfg.Every, time.Second)
	cfg.Patience = cmp.Or(cfg.Patience, 5*time.Second)
	return &Server{cfg: cfg, page: newPage(), viewers: make(chan struct{}, maxViewers)}
}

// Listen opens the port, of just the family of its address; an error names the remedy.
func Listen(at string) (net.Listener, error) {
	network := "tcp"
	if a, err := netip.ParseAddrPort(at); err == nil && a.Addr().Is4() {
		network = "tcp4" // else 0.0.0.0 would mean all of IPv6 as well
	}
	l, err := net.Listen(network, at)
	if err != nil {
		return nil, fmt.Errorf("metrics port: %w (set metrics in the config file to a free port, or to \"\" for none)", err)
	}
	return l, nil
}

// Run serves on l until ctx ends; it closes l and returns when every handler has ended.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 2 * time.Second, ReadTimeout: s.cfg.Patience, IdleTimeout: 30 * time.Second,
		WriteTimeout: 2 * s.cfg.Patience, MaxHeaderBytes: maxHead, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(limit(l, maxConnections)) }() // waited for below
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics port %v: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics port %v: %w", l.Addr(), err)
	}
	return nil
}

// Handler returns what answers requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /status.json", s.serveStatus)
	mux.Handle("GET /metrics", s.cfg.Metrics)
	return s.guard(mux)
}

// guard is in front of every answer.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.page.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		switch {
		case !trusted(r):
			http.Error(w, "this port answers to localhost and 127.0.0.1 only", http.StatusMisdirectedRequest)
		case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate":
			http.Error(w, "not for other sites' pages", http.StatusForbidden)
		case r.ContentLength != 0: // waiting for it, net/http would hold a viewer's place for ever
			h.Set("Connection", "close")
			http.Error(w, "this port takes no request with a body", http.StatusRequestEntityTooLarge)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// trusted reports whether the request names what it reached. On the loopback a name of any other
// kind is one that a stranger has pointed there.
func trusted(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return err == nil
	}
	return loopback(r.Host)
}

// loopback reports whether a Host names the loopback, with or without a port.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(s.page.html) // a reader who went away is no error
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	text, err := s.status()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(text, '\n')) // likewise
}
