package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/ftgw/ftgw/internal/defect"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/web"
)

// socketMode lets the owner and the group of the socket in.
const socketMode = 0o660

// listenSocket opens the operators' socket. A socket that nobody answers at is left over from
// a dead run and is replaced; one where an ftgw answers means that this node runs already.
// Closing the listener removes the file.
func listenSocket(path string) (net.Listener, error) {
	fail := func(err error, remedy string) (net.Listener, error) {
		return nil, fmt.Errorf("open socket %s: %w (%s)", path, err, remedy)
	}
	const elsewhere = "set socket in the config file to a path that this user may write"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err, elsewhere)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return fail(errors.New("there is a file that is not a socket"), "remove it, or set socket in the config file")
		}
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			conn.Close()
			return fail(errors.New("ftgw is already running"), "ftgw status shows it; a second node on this host needs a socket of its own")
		}
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) {
			return fail(err, elsewhere)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err, elsewhere)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fail(err, elsewhere)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return fail(err, elsewhere)
	}
	return l, nil
}

// answers are what operators can ask for. The functions are called from many goroutines and
// return what is true at that instant.
type answers struct {
	status func() state.Status
	ledger func(sinceTakeover bool, limit int) Ledger // nil: this node has none
	routes func() Routes                              // nil: likewise
	// reset gives routes of a service that are logged their mode back, on all nodes, and returns how many
	// there were; an empty path means all of them.
	reset func(service, path string) (int, error)
	// flows lists connections; nil: this node has none. An error means that there is no such service.
	flows func(service string, limit int) (state.Flows, error)
	// switchover gives the voice of a service, or of the only group, to the peer and returns when
	// it has it; nil: this node has none.
	switchover func(ctx context.Context, service string) error
	// drain gives up all that this node does, what it serves alone too if force is set, within
	// limit then; nil: this node does nothing.
	drain func(ctx context.Context, force bool, limit time.Duration) error
	// reload reads the config file again and takes what has changed, or only says what that is.
	reload func(ctx context.Context, dry bool) Reload
}

// handler routes the requests of operators.
func (a answers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.status()) })
	asked := func(pattern string, there bool, what string, answer func(url.Values) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !there {
				http.Error(w, "a witness has no "+what+": ask a node that serves", http.StatusNotFound)
			} else if v, err := answer(r.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			} else {
				writeJSON(w, v)
			}
		})
	}
	asked("GET /ledger", a.ledger != nil, "exchanges", func(q url.Values) (any, error) {
		return a.ledger(q.Get("since-takeover") == "true", limitOf(q)), nil
	})
	asked("GET /routes", a.routes != nil, "routes", func(url.Values) (any, error) { return a.routes(), nil })
	asked("POST /routes/reset", a.reset != nil, "routes", func(q url.Values) (any, error) {
		n, err := a.reset(q.Get("service"), q.Get("path"))
		return RoutesReset{n}, err
	})
	asked("GET /flows", a.flows != nil, "connections", func(q url.Values) (any, error) { return a.flows(q.Get("service"), limitOf(q)) })
	mux.HandleFunc("POST /switchover", func(w http.ResponseWriter, r *http.Request) {
		a.handOver(w, a.switchover != nil, func() error { return a.switchover(r.Context(), r.URL.Query().Get("service")) })
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) {
		a.handOver(w, a.drain != nil, func() error {
			limit, err := time.ParseDuration(r.URL.Query().Get("timeout"))
			if err != nil {
				return err
			}
			return a.drain(r.Context(), r.URL.Query().Get("force") == "true", limit)
		})
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		if http.NewResponseController(w).SetWriteDeadline(time.Time{}) == nil {
			writeJSON(w, a.reload(r.Context(), r.URL.Query().Get("dry-run") == "true"))
		}
	})
	return mux
}

// limitOf returns how many lines are asked for; 0, all, where no number is.
func limitOf(q url.Values) int {
	n, _ := strconv.Atoi(q.Get("limit"))
	return max(0, n)
}

// serveSocket answers operators on l until ctx ends; it closes l.
func serveSocket(ctx context.Context, l net.Listener, a answers) error {
	mux := a.handler()
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer defect.Guard() // before the server's own, which would go on
		mux.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: guarded, ReadHeaderTimeout: time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(web.Lasting(l)) }() // waited for below
	select {
	case err := <-served:
		return fmt.Errorf("serve socket %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	<-served
	return nil
}

// handOver answers a switchover or a drain when it is done, however long its exchanges take.
func (a answers) handOver(w http.ResponseWriter, there bool, do func() error) {
	if !there {
		http.Error(w, "a witness has no role to hand over: ask a node that serves", http.StatusNotFound)
		return
	}
	err := http.NewResponseController(w).SetWriteDeadline(time.Time{})
	if err == nil {
		err = do()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	writeJSON(w, a.status())
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(text, '\n')) // an operator who went away is no error
}

// socketClient returns a client whose every request goes to the socket at path.
func socketClient(path string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}
