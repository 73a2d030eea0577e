package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/inspect"
	"github.com/ftgw/ftgw/inspect/host"
	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/replication"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/takeover/address"
	"github.com/ftgw/ftgw/upstream"
)

// factsOf looks at this host and, meanwhile, asks the others. keys may be nil.
func factsOf(ctx context.Context, cfg *config.Config, keys *replication.Keys) inspect.Facts {
	spec, _ := specOf(cfg)
	f := inspect.Facts{Witness: cfg.Self().Witness, Own: cfg.Self().Address, Running: runningFtgw(ctx, cfg), Place: placeOf(cfg)}
	for _, s := range spec.Services {
		if a := s.Advertised.Addr(); !slices.Contains(f.Advertised, a) {
			f.Advertised = append(f.Advertised, a)
		}
	}
	if f.Lacks, _ = host.Lacks(!f.Witness && lowPort(spec)); !f.Witness {
		if err := address.CheckAdvertised(f.Advertised); err != nil {
			f.Place.Elsewhere = err.Error()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.Peers = askNodes(ctx, cfg, keys, f.Place) })
	wg.Go(func() { f.Web = askUpstreams(ctx, cfg) })
	if f.Place.Interface != "" && !slices.Contains(f.Lacks, "NET_RAW") {
		wg.Go(func() { f.Stations = stationsOf(ctx, cfg, f.Place, f.Advertised) })
	}
	spec.Interface = f.Place.Interface
	hostFacts(&f, cfg, spec)
	wg.Wait()
	if err := writable(cfg.StateDir); err != nil {
		f.StateDir, f.StateDenied = err.Error(), denied(err, f.Lacks)
	}
	return f
}

// hostFacts looks at the kernel and its settings.
func hostFacts(f *inspect.Facts, cfg *config.Config, spec rules.Spec) {
	f.Ports = portFacts(cfg)
	if f.Place.Interface != "" {
		var err error
		if f.LRO, err = host.LRO(f.Place.Interface); err != nil {
			f.NoLRO = err.Error()
		}
		f.Sysctls = host.Sysctls(f.Place.Interface)
	}
	if slices.Contains(f.Lacks, "NET_ADMIN") || slices.Contains(f.Lacks, "NET_RAW") {
		return
	}
	if !f.Witness {
		f.Kernel = kernelHas(spec, f.Running != nil)
	}
	f.Traffic, f.Firewall = trafficFacts(cfg, spec, f.Place)
}

func lowPort(spec rules.Spec) bool {
	return slices.ContainsFunc(spec.Services, func(s rules.Service) bool { return s.Advertised.Port() < 1024 })
}

// kernelHas tries what run will need of the kernel. Queues that a running ftgw holds are proof
// enough.
func kernelHas(spec rules.Spec, runs bool) *inspect.Kernel {
	k := &inspect.Kernel{Release: host.Release()}
	problem := func(err error) {
		if err != nil {
			k.Problems = append(k.Problems, err.Error())
		}
	}
	has, err := rules.Probe()
	if problem(err); err == nil {
		k.Queue, k.Egress = has.Queue, has.Egress
		problem(rules.Try(spec, has))
	}
	if raw, err := nfq.OpenSender(0); err != nil {
		problem(err)
	} else {
		raw.Close()
	}
	if runs {
		return k
	}
	if pid := queueHolder(spec.QueueBase); pid != "" {
		problem(fmt.Errorf("queue %d is held by another program, or an ftgw with another socket (see port ID %s in /proc/net/netfilter/nfnetlink_queue)", spec.QueueBase, pid))
	}
	if q, err := nfq.Open(nfq.Config{Number: spec.QueueBase - 1}); err != nil { // no rule leads to it
		problem(err)
	} else {
		q.Close()
	}
	return k
}

// placeOf finds out where the node is attached.
func placeOf(cfg *config.Config) inspect.Place {
	p := inspect.Place{}
	iface, _, err := address.InterfaceOf(cfg.Self().Address)
	if err == nil && cfg.Interface != "" && !cfg.Self().Witness {
		iface = cfg.Interface
	}
	if err == nil && !cfg.Self().Witness {
		err = ethernet(iface)
	}
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	p.Interface = iface
	if own := cfg.Self().ReplicationAddress; own.IsValid() {
		if err := apart(iface, own); err != nil {
			p.Apart = err.Error()
		}
	}
	if i, err := net.InterfaceByName(iface); err == nil {
		p.MTU, p.Up = i.MTU, i.Flags&net.FlagRunning != 0
		addrs, _ := i.Addrs() // none: no address is in a subnet
		for _, a := range addrs {
			if subnet, err := netip.ParsePrefix(a.String()); err == nil {
				p.Subnets = append(p.Subnets, subnet)
			}
		}
	}
	if cfg.Self().Witness {
		return p
	}
	if p.Gateway = cfg.Probe; !p.Gateway.IsValid() {
		if p.Gateway, err = address.Gateway(iface); err != nil {
			p.NoGateway = err.Error()
		}
	}
	return p
}

// runningFtgw asks the ftgw at the config's socket for its config; nil: none runs.
func runningFtgw(ctx context.Context, cfg *config.Config) *inspect.Running {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ftgw/status", nil)
	if err != nil {
		return nil
	}
	r := &inspect.Running{Socket: cfg.Socket}
	resp, err := socketClient(cfg.Socket).Do(req)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return r
	}
	defer resp.Body.Close()
	var s state.Status
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&s); err == nil {
		r.Asked, r.Other = true, s.Config != digestText(cfg)
		for _, p := range s.Peers {
			if p.State != "alive" {
				r.Lost = append(r.Lost, p.Name)
			}
		}
	}
	return r
}

// portFacts tries to bind what run will bind.
func portFacts(cfg *config.Config) []inspect.Port {
	var all []inspect.Port
	try := func(what, key string, at netip.AddrPort, udp bool) {
		p := inspect.Port{What: fmt.Sprintf("%s %v", what, at), Key: key}
		switch err := portFree(at, udp); {
		case errors.Is(err, unix.EADDRINUSE):
			p.Taken = true
		case errors.Is(err, unix.EACCES):
			p.Denied = true
		case err != nil:
			p.Wrong = err.Error()
		}
		all = append(all, p)
	}
	self := cfg.Self()
	try("session port", "session_port", netip.AddrPortFrom(self.Address, cfg.SessionPort), false)
	if own := replicationPort(self, cfg.SessionPort); own.IsValid() {
		try("session port", "session_port", own, false)
	}
	try("gossip port", "gossip_port", netip.AddrPortFrom(self.Address, cfg.GossipPort), false)
	try("gossip port (UDP)", "gossip_port", netip.AddrPortFrom(self.Address, cfg.GossipPort), true)
	if at, err := netip.ParseAddrPort(cfg.Metrics); err == nil {
		try("web page and metrics", "metrics", at, false)
	}
	for _, g := range cfg.GroupsOf(cfg.Name) {
		for _, s := range g.Services {
			try("service "+s.Name+": advertised", "", s.Advertised, false)
			try("service "+s.Name+": forwarding port", "forward", netip.AddrPortFrom(self.Address, s.Forward), false)
		}
	}
	return all
}

// askUpstreams connects to the web servers of this node, and asks nothing.
func askUpstreams(ctx context.Context, cfg *config.Config) []inspect.Web {
	var all []inspect.Web
	for _, g := range cfg.GroupsOf(cfg.Name) {
		for _, s := range g.Services {
			w := inspect.Web{Service: s.Name, Address: s.Upstream}
			a, err := upstream.ParseAddress(s.Upstream)
			if err == nil {
				var c net.Conn
				if c, err = a.Dial(ctx, time.Second); err == nil {
					c.Close()
				}
			}
			if err != nil {
				w.Problem = err.Error()
			}
			all = append(all, w)
		}
	}
	return all
}
