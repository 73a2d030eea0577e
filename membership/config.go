package membership

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Defaults of Config: a killed process is reported after 77 to 126 ms, for 1.6 % of a core.
const (
	DefaultProbeInterval = 25 * time.Millisecond
	DefaultProbeTimeout  = 10 * time.Millisecond
	DefaultSuspicionMult = 2
	DefaultRejoinEvery   = 500 * time.Millisecond
)

const (
	streamTimeout  = 300 * time.Millisecond // for TCP to a peer: a dead one delays a join by it
	gossipInterval = 20 * time.Millisecond
	pushPull       = 10 * time.Second
	tellTimes      = 3 // datagrams of what is new
	tellPause      = 2 * time.Millisecond
	keyLen         = 32 // AES-256
)

// Config says who this node is and how it finds the others. A zero duration or multiplier
// takes its default.
type Config struct {
	Name  string           // unique in the cluster
	Bind  netip.AddrPort   // own address and port, TCP and UDP; the others see it as it is
	Peers []netip.AddrPort // the other nodes
	Key   []byte           // 32 bytes, the same on all nodes; gossip is encrypted by it

	ProbeInterval time.Duration // between probes; also the patience with one of them
	ProbeTimeout  time.Duration // until a probe is tried another way; below ProbeInterval
	SuspicionMult int           // suspicion lasts this many probe intervals
	RejoinEvery   time.Duration // between attempts to join peers that are not alive

	// Meta returns what this node says about itself. It is called at the start and at each
	// UpdateMeta, and must not call back into the Cluster.
	Meta func() Meta

	Handler Handler
	Log     *slog.Logger // nil discards
}

// Handler is told what gossip sees of the other nodes, never of this one. Calls come one at a
// time and in order, from a goroutine that Run owns; they may use the Cluster.
type Handler interface {
	// Alive: the node is heard, for the first time or again after Dead.
	Alive(name string, meta Meta)
	// Updated: a live node says something else about itself. Another boot ID means that it
	// restarted unnoticed.
	Updated(name string, meta Meta)
	// Told: the node says something else about itself, or did so once, for the message may be a
	// repeat: for the sake of time, beside Updated. It may come from a node that is not alive.
	Told(name string, meta Meta)
	// Heard: the node's daemon answered a probe, sent rtt ago. About one per ProbeInterval;
	// left out when the handler cannot keep up.
	Heard(name string, rtt time.Duration)
	// Leaving: the node is about to stop of its own accord. Dead may follow or not.
	Leaving(name string)
	// Dead: the node is no longer heard; by itself no proof of death.
	Dead(name string)
}

// withDefaults returns the config completed, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.ProbeInterval, DefaultProbeInterval)
	setDefault(&c.ProbeTimeout, DefaultProbeTimeout)
	setDefault(&c.SuspicionMult, DefaultSuspicionMult)
	setDefault(&c.RejoinEvery, DefaultRejoinEvery)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf("membership: "+format, args...))
		}
	}
	wrong(c.Name == "", "the node needs a name")
	wrong(!c.Bind.IsValid() || c.Bind.Addr().IsUnspecified() || c.Bind.Port() == 0,
		"bind address %v must be this node's own address with a port", c.Bind)
	wrong(len(c.Key) != keyLen, "key has %d bytes, needs %d", len(c.Key), keyLen)
	wrong(c.Meta == nil || c.Handler == nil, "Meta and Handler must be given")
	wrong(c.ProbeInterval < 0 || c.ProbeTimeout < 0 || c.RejoinEvery < 0 || c.SuspicionMult < 0,
		"intervals must not be negative")
	wrong(c.ProbeTimeout > c.ProbeInterval, "probe timeout %v is above the probe interval %v", c.ProbeTimeout, c.ProbeInterval)
	for _, p := range c.Peers {
		wrong(!p.IsValid() || p.Port() == 0, "peer address %v needs an address and a port", p)
		wrong(p == c.Bind, "peer address %v is this node's own", p)
	}
	return c, errors.Join(errs...)
}

func setDefault[T comparable](v *T, to T) {
	if *v == *new(T) {
		*v = to
	}
}
