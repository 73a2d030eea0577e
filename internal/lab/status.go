package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Status is what the lab reads of `ftgw status --json`; fields that a node does not give yet
// are zero.
type Status struct {
	Version  string            `json:"version"`
	Node     string            `json:"node"`
	Peers    []PeerStatus      `json:"peers"`
	Services []ServiceStatus   `json:"services"`
	Warnings []string          `json:"warnings"`
	Drops    map[string]uint64 `json:"drops"`
	Rules    struct {
		Restored uint64 `json:"restored"`
		Last     string `json:"last"`
		Problem  string `json:"problem"`
	} `json:"rules"`
}

// PeerStatus is the other node as a node sees it.
type PeerStatus struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Problem string `json:"problem"` // why they are no pair; empty: nothing is known
	Session string `json:"session"` // the other node's address in the session; empty: there is none
}

// ServiceStatus is one service as a node sees it.
type ServiceStatus struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	Mode   string `json:"mode"`
	Owner  string `json:"owner"`
	Peer   string `json:"peer"`
	Epoch  uint64 `json:"epoch"`
	InSync bool   `json:"in_sync"`

	Why         string `json:"why"`
	Upstream    string `json:"upstream"`
	UpstreamWhy string `json:"upstream_why"`

	Flows struct {
		Duplex      int `json:"duplex"`
		Simplex     int `json:"simplex"`
		Unprotected int `json:"unprotected"`
	} `json:"flows"`
	Exchanges struct {
		Delivered   uint64 `json:"delivered"`
		Replayed    uint64 `json:"replayed"`
		Reexecuted  uint64 `json:"reexecuted"`
		Moved       uint64 `json:"moved"`
		Unprotected uint64 `json:"unprotected"`
		Failed      uint64 `json:"failed"`
	} `json:"exchanges"`
	Modes struct {
		Logged     uint64 `json:"logged"`
		SyncStatic uint64 `json:"sync_static"`
		Instead    uint64 `json:"static_logged"`
		Static     uint64 `json:"static"`
		Deferred   uint64 `json:"deferred"`
		Mirrored   uint64 `json:"mirrored"`
		Differed   uint64 `json:"mirrored_not"`
	} `json:"exchanges_by_mode"`
	IfDied       Forecast  `json:"if_peer_died_now"`
	LastTakeover *Takeover `json:"last_takeover"` // nil: this node has claimed nothing yet
}

// Forecast is what a node says that its peer's death would mean now.
type Forecast struct {
	Survive   int `json:"survive"`
	Lost      int `json:"lost"`
	Reexecute int `json:"reexecute"`
}

// Takeover is what a node did when it claimed the address, step by step.
type Takeover struct {
	Epoch  uint64    `json:"epoch"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // the claim was decided; zero if the node does not say
	Steps  []struct {
		Name string  `json:"name"`
		AtMS float64 `json:"at_ms"` // milliseconds since At
	} `json:"steps"`
}

// Status asks the host's node. It fails while the node has not opened its socket.
func (h *Host) Status(ctx context.Context) (Status, error) {
	var s Status
	err := h.ask(ctx, "status", &s)
	return s, err
}

// Ledger is what the lab reads of `ftgw ledger --json`.
type Ledger struct {
	Services []struct {
		Exchanges []LedgerEntry `json:"exchanges"`
	} `json:"services"`
}

// LedgerEntry is one exchange.
type LedgerEntry struct {
	Client      string `json:"client"`
	Index       uint64 `json:"index"`
	Transaction string `json:"transaction"`
	Outcome     string `json:"outcome"`
	Attempt     int    `json:"attempt"`
	Epoch       uint64 `json:"epoch"`
}

// Ledger asks the host's node what its latest takeover touched in its services.
func (h *Host) Ledger(ctx context.Context) ([]LedgerEntry, error) {
	var l Ledger
	if err := h.ask(ctx, "ledger?since-takeover=true", &l); err != nil {
		return nil, err
	}
	if len(l.Services) == 0 {
		return nil, fmt.Errorf("read ledger of %s: no service", h.Name)
	}
	var all []LedgerEntry
	for _, s := range l.Services {
		all = append(all, s.Exchanges...)
	}
	return all, nil
}

// ask fills v with what the node's socket has.
func (h *Host) ask(ctx context.Context, what string, v any) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.Socket()) // a socket file belongs to no network namespace
	}}
	err := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ftgw/"+what, nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(v)
	}()
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", what, h.Name, err)
	}
	return nil
}

// Await polls the host's node until ok says that its (first) service is as wanted, and
// returns the service. It ends early with ctx, and when the node's process has ended; the
// error tells what was seen last.
func (h *Host) Await(ctx context.Context, what string, ok func(ServiceStatus) bool) (ServiceStatus, error) {
	return h.AwaitService(ctx, "", what, ok)
}

// AwaitService is Await for the service of that name; empty: the first.
func (h *Host) AwaitService(ctx context.Context, service, what string, ok func(ServiceStatus) bool) (ServiceStatus, error) {
	var last ServiceStatus
	var lastErr error
	for {
		st, err := h.Status(ctx)
		i := slices.IndexFunc(st.Services, func(s ServiceStatus) bool { return service == "" || s.Name == service })
		if err == nil && i >= 0 {
			if last = st.Services[i]; ok(last) {
				return last, nil
			}
		}
		if ctx.Err() == nil {
			lastErr = err
		}
		if p := h.Node(); p != nil && p.Exited() {
			return last, fmt.Errorf("wait for %s on %s: ftgw has ended: %w\n%s", what, h.Name, errors.Join(p.err, lastErr), p.Log())
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("wait for %s on %s: %w (last seen %+v, %v)", what, h.Name, ctx.Err(), last, lastErr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// AwaitDuplex waits until a and b say that they are in sync in duplex.
func (l *Lab) AwaitDuplex(ctx context.Context) error {
	return l.awaitDuplex(ctx, []string{NameA, NameB})
}

func (l *Lab) awaitDuplex(ctx context.Context, pair []string) error {
	for _, h := range l.Hosts() {
		if !slices.Contains(pair, h.Name) {
			continue
		}
		_, err := h.Await(ctx, "duplex", func(s ServiceStatus) bool { return s.InSync && s.Mode == "duplex" })
		if err != nil {
			return err
		}
	}
	return nil
}

// StartPair writes the config, starts the web application and a node on every host that serves,
// and waits until the first two of the (first) service's list are in duplex.
func (l *Lab) StartPair(ctx context.Context, program string, c Config) error {
	if err := l.WriteConfig(c); err != nil {
		return err
	}
	for _, h := range l.serving(c) {
		if _, err := h.StartApp(program); err != nil {
			return err
		}
		if _, err := h.StartNode(program); err != nil {
			return err
		}
	}
	return l.awaitDuplex(ctx, c.services()[0].List[:2])
}

// Node returns the latest ftgw process, which may have ended, or nil.
func (h *Host) Node() *Process {
	var last *Process
	for _, p := range h.Processes() {
		if p.Name == nodeName {
			last = p
		}
	}
	return last
}
