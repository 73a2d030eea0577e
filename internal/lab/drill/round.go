package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
)

const (
	patience  = 20 * time.Second // of a client with one request; longer is a hang
	hitWithin = 5 * time.Second  // a crash point that was armed
	soleWait  = 10 * time.Second // until the survivor serves alone
)

// ErrMissed in the error of a check or of Run says that the machine was too slow for the fault
// to strike in the phase that was meant. Such a round proves nothing and is played again.
var ErrMissed = errors.New("the fault struck in another phase than meant")

// Rules choose what a round is judged by. All hold unless the scenario says otherwise.
type Rules struct {
	Whole    bool // every reply is whole and right: no reset, error reply, hang
	Once     bool // nothing is executed again whose reply was stored (I4)
	NoReset  bool // no RST leaves the advertised address (connections that the client ended apart)
	Input    bool // nothing is acknowledged that the backup's kernel was not handed (I2)
	Switches int  // how often the voice of a connection may change (I3); negative: not judged
}

// Round is one play of a scenario. Its methods are safe for concurrent use, its fields are set
// before Run; Run may change Rules.
type Round struct {
	*lab.Lab
	Number          int        // from 0
	Rand            *rand.Rand // the same for the same seed, scenario and number
	Setting         Setting
	Services        []*Service     // one, or two in dual-role
	Primary, Backup *lab.Host      // of the first service when the round began
	Client          *client.Client // of all services, in turn
	Report          *client.Report // what the clients saw; Run adds every result
	Rules           Rules

	program  string
	startApp func(*lab.Host) error
	begin    time.Time
	before   map[*lab.Process]map[string]lab.ServiceStatus // what the nodes had counted then, by service

	mu       sync.Mutex
	injected []Injection
	struck   time.Time // of the first fault
	dead     *lab.Host // which was crashed first, or its process killed
	checks   []func(*Seen) error
	forged   []capture.Segment // what the captures must not be taken at their word for
}

// Injection is something that the scenario did to the pair.
type Injection struct {
	AtMS float64 `json:"at_ms"` // since the round began
	What string  `json:"what"`
}

// Inject carries out a fault and notes when. The exchanges that are under way at the first
// fault of a round count as interrupted.
func (r *Round) Inject(what string, f func() error) error {
	r.note(time.Now(), what)
	if err := f(); err != nil {
		return fmt.Errorf("inject %s: %w", what, err)
	}
	return nil
}

func (r *Round) note(at time.Time, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.struck.IsZero() {
		r.struck = at
	}
	r.injected = append(r.injected, Injection{AtMS: ms(at.Sub(r.begin)), What: what})
}

// remark is note of what is no fault, or not the one that the round is judged by.
func (r *Round) remark(what string) {
	at := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injected = append(r.injected, Injection{AtMS: ms(at.Sub(r.begin)), What: what})
}

// How says what dies in a crash.
type How bool

// The ways to die.
const (
	Host    How = false // the cable first, then every process
	Process How = true  // ftgw alone, by SIGKILL
)

func (h How) String() string {
	if h == Process {
		return "process"
	}
	return "host"
}

// Crash ends a host, or ftgw on it.
func (r *Round) Crash(h *lab.Host, how How) error {
	r.mu.Lock()
	if r.dead == nil {
		r.dead = h
	}
	r.mu.Unlock()
	if how == Process {
		return r.Inject("ftgw on "+r.title(h)+" is killed", func() error { return h.Node().Kill() })
	}
	return r.Inject("host "+r.title(h)+" crashes", h.Crash)
}

func (r *Round) title(h *lab.Host) string {
	switch h {
	case r.Primary:
		return h.Name + " (primary)"
	case r.Backup:
		return h.Name + " (backup)"
	}
	return h.Name
}

// Other returns the other host of the pair.
func (r *Round) Other(h *lab.Host) *lab.Host {
	if h == r.A {
		return r.B
	}
	return r.A
}

// Arm makes ftgw on a host stop at the n-th pass of a point from now on.
func (r *Round) Arm(h *lab.Host, p crashpoint.Point, n int) error {
	file := armFile(h)
	if err := os.WriteFile(file+".new", fmt.Appendf(nil, "%s:%d", p, n), 0o600); err != nil {
		return fmt.Errorf("arm %s: %w", p, err)
	}
	if err := os.Rename(file+".new", file); err != nil { // whole or not there
		return fmt.Errorf("arm %s: %w", p, err)
	}
	return nil
}

// AwaitStopped waits until ftgw on a host stands still at the point that was armed.
func (r *Round) AwaitStopped(ctx context.Context, h *lab.Host) error {
	pid := h.Node().PID()
	for end := time.Now().Add(hitWithin); ; time.Sleep(500 * time.Microsecond) {
		if crashpoint.Stopped(pid) {
			text, err := os.ReadFile(armFile(h))
			r.note(time.Now(), fmt.Sprintf("ftgw on %s stands still at %s", r.title(h), text))
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: the crash point on %s was not passed within %v", ErrMissed, h.Name, hitWithin)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Check adds a judgement of the round's captures, for when it has ended.
func (r *Round) Check(f func(*Seen) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checks = append(r.checks, f)
}

// armFile is what a node's environment names.
func armFile(h *lab.Host) string { return filepath.Join(h.Dir, "crash-point") }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
