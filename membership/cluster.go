package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Member is another node that is heard, possibly suspect.
type Member struct {
	Name string
	Addr netip.AddrPort
	Meta Meta
}

// Cluster is this node's part in the gossip. Its methods are safe for concurrent use.
type Cluster struct {
	cfg    Config
	queue  *queue
	roster *roster
	update chan struct{} // holds a token when Meta has changed

	mu   sync.Mutex // guards list
	list *memberlist.Memberlist
}

// ErrNotRunning means that Run has not started yet or has ended.
var ErrNotRunning = errors.New("membership is not running")

// New checks the config. It opens and starts nothing; Run does.
func New(cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Cluster{
		cfg:    cfg,
		queue:  newQueue(),
		roster: newRoster(),
		update: make(chan struct{}, 1),
	}, nil
}

// Run takes part in the gossip until ctx ends, and returns nil then. It sends no leave: a
// node that stops on purpose calls Leave before. It may be called once.
func (c *Cluster) Run(ctx context.Context) error {
	list, err := memberlist.Create(c.memberlistConfig())
	if err != nil {
		return fmt.Errorf("membership on %v: %w (the port may be taken: is another ftgw running?)", c.cfg.Bind, err)
	}
	c.set(list)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { c.queue.run(ctx, c.cfg.Handler) })
	wg.Go(func() { c.publish(ctx, list) })
	c.rejoin(ctx, list)

	c.set(nil)
	err = list.Shutdown()
	wg.Wait()
	c.roster.clear()
	return err
}

func (c *Cluster) set(list *memberlist.Memberlist) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = list
}

// rejoin joins the peers that are not alive, at once and then every RejoinEvery, for
// memberlist by itself never finds a node again that both sides have given up.
func (c *Cluster) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	tick := time.NewTicker(c.cfg.RejoinEvery)
	defer tick.Stop()
	for {
		for _, peer := range c.missing() {
			if ctx.Err() != nil {
				return
			}
			if _, err := list.Join([]string{peer.String()}); err != nil {
				c.cfg.Log.Debug("peer not joined", "peer", peer, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// missing returns the configured peers that are not alive.
func (c *Cluster) missing() []netip.AddrPort {
	alive := make(map[netip.AddrPort]bool)
	for _, m := range c.roster.members() {
		alive[m.Addr] = true
	}
	return slices.DeleteFunc(slices.Clone(c.cfg.Peers), func(p netip.AddrPort) bool { return alive[p] })
}

// publish sends this node's metadata out again whenever it has changed.
func (c *Cluster) publish(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.update:
			c.tell(ctx, list)
			if err := list.UpdateNode(streamTimeout); err != nil {
				c.cfg.Log.Debug("metadata not confirmed as sent", "error", err)
			}
		}
	}
}

// tell sends this node's metadata to each peer in datagrams of its own, since one may be lost: gossip
// takes until its next round, and longer to a node that is given up.
func (c *Cluster) tell(ctx context.Context, list *memberlist.Memberlist) {
	message, err := news{name: c.cfg.Name, meta: c.cfg.Meta()}.marshal()
	for range tellTimes {
		for _, p := range c.cfg.Peers {
			if err == nil {
				err = list.SendBestEffort(&memberlist.Node{Addr: p.Addr().AsSlice(), Port: p.Port()}, message)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(tellPause):
		}
	}
	if err != nil {
		c.cfg.Log.Debug("metadata not sent at once", "error", err)
	}
}

// UpdateMeta makes the node ask Config.Meta again and tell the others. It does not wait.
func (c *Cluster) UpdateMeta() {
	select {
	case c.update <- struct{}{}:
	default:
	}
}

// Members returns the other nodes that are heard, sorted by name; none when not running.
func (c *Cluster) Members() []Member { return c.roster.members() }

// Leave tells every live node that this one stops on purpose, and takes it out of the gossip.
// It returns when they have been told or could not be within 300 ms each. After it the
// caller ends Run.
func (c *Cluster) Leave(ctx context.Context) error {
	// Run must not shut memberlist down meanwhile: it panics when left afterwards.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list == nil {
		return ErrNotRunning
	}
	message := leaving{name: c.cfg.Name, boot: c.cfg.Meta().Boot}.marshal()
	var errs []error
	for _, m := range c.roster.members() {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		node := &memberlist.Node{Name: m.Name, Addr: m.Addr.Addr().AsSlice(), Port: m.Addr.Port()}
		if err := c.list.SendReliable(node, message); err != nil {
			errs = append(errs, fmt.Errorf("tell %s that this node leaves: %w", m.Name, err))
		}
	}
	if err := c.list.Leave(streamTimeout); err != nil {
		errs = append(errs, fmt.Errorf("leave the cluster: %w", err))
	}
	return errors.Join(errs...)
}

func (c *Cluster) memberlistConfig() *memberlist.Config {
	d := &delegate{self: c.cfg.Name, meta: c.cfg.Meta, queue: c.queue, log: c.cfg.Log, roster: c.roster}
	m := memberlist.DefaultLANConfig()
	m.Name = c.cfg.Name
	m.Label = "ftgw/1"
	m.BindAddr = c.cfg.Bind.Addr().String()
	m.BindPort = int(c.cfg.Bind.Port())
	m.AdvertisePort = m.BindPort
	m.SecretKey = slices.Clone(c.cfg.Key)
	m.TCPTimeout = streamTimeout
	m.ProbeInterval = c.cfg.ProbeInterval
	m.ProbeTimeout = c.cfg.ProbeTimeout
	m.SuspicionMult = c.cfg.SuspicionMult
	// With a peer dead every probe fails; this node's own health is not in doubt then, and
	// the next death must be found as fast as the first.
	m.AwarenessMaxMultiplier = 1
	m.GossipInterval = gossipInterval
	m.PushPullInterval = pushPull
	m.EnableCompression = false
	m.DeadNodeReclaimTime = time.Nanosecond // a name may come back from another address at once
	m.Delegate, m.Events, m.Alive, m.Ping, m.Conflict = d, d, d, d, d
	m.Logger = log.New(logWriter{c.cfg.Log}, "", 0)
	return m
}
