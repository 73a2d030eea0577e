package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check notes every mistake that a well-formed file can still hold.
func check(f *findings, c *Config) {
	checkPaths(f, c)
	checkLog(f, c)
	checkNodes(f, c)
	checkSelf(f, c)
	checkServices(f, c)
	checkPorts(f, c)
	checkTiming(f, c.Timing)
	checkLimits(f, c.Limits)
}

// maxSocketPath is what sockaddr_un holds, without the closing zero (unix(7)).
const maxSocketPath = 107

func checkPaths(f *findings, c *Config) {
	for _, p := range []struct{ key, path string }{
		{"secret_file", c.SecretFile}, {"socket", c.Socket}, {"state_dir", c.StateDir},
	} {
		if !filepath.IsAbs(p.path) && !f.has(p.key) {
			f.add(p.key, "write a path that begins with /", "%q is not an absolute path", p.path)
		}
	}
	if len(c.Socket) > maxSocketPath {
		f.add("socket", "choose a shorter path", "the path is %d bytes long, a socket's may have %d", len(c.Socket), maxSocketPath)
	}
	if _, err := netip.ParseAddrPort(c.Metrics); err != nil && c.Metrics != "" {
		f.add("metrics", `write it as in "127.0.0.1:9901", or "" for none`, "%q is not an IP address and a port", c.Metrics)
	}
}

func checkLog(f *findings, c *Config) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) && !f.has("log_level") {
		f.add("log_level", "write debug, info, warn or error", "%q is no level", c.LogLevel)
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) && !f.has("log_format") {
		f.add("log_format", "write text or json", "%q is no format", c.LogFormat)
	}
}

func checkNodes(f *findings, c *Config) {
	if len(c.Nodes) < 2 && !f.has("node") {
		f.add("node", "write a [[node]] with name and address for each host", "there are %d nodes, two are needed", len(c.Nodes))
	}
	names, addresses := seen{}, seen{}
	witness := ""
	for i, n := range c.Nodes {
		at := index("node", i)
		checkName(f, at+".name", n.Name)
		names.check(f, at+".name", n.Name)
		if n.Witness && witness != "" {
			f.add(at+".witness", "keep one: two could grant a claim to each side", "%s is a witness already", witness)
		} else if n.Witness {
			witness = at
		}
		if n.Witness && n.Fence != "" {
			f.add(at+".fence", "leave it out: a witness serves nothing, so nobody has to power it off", "a witness has a fence command")
		}
		checkReplication(f, at+".replication_address", c, n)
		if n.ReplicationAddress.IsValid() {
			addresses.check(f, at+".replication_address", n.ReplicationAddress.String())
		}
		if f.has(at + ".address") {
			continue
		}
		checkAddress(f, at+".address", n.Address)
		if n.Address.IsValid() {
			addresses.check(f, at+".address", n.Address.String())
		}
	}
	checkProbe(f, c.Probe, addresses)
}

// checkProbe refuses what never answers ARP, for then no node would ever claim.
func checkProbe(f *findings, probe netip.Addr, nodes seen) {
	switch {
	case !probe.IsValid() || f.has("probe"):
	case nodes[probe.String()] != "":
		f.add("probe", "name a router or another host that is always there", "%s is the address of a node", probe)
	case probe.Is6() && !probe.Is4In6():
		f.add("probe", "use an IPv4 address", "%s is IPv6 and cannot be asked by ARP", probe)
	default:
		checkAddress(f, "probe", probe)
	}
}

// checkReplication notes what is wrong with a node's address on the nodes' own network.
func checkReplication(f *findings, at string, c *Config, n Node) {
	switch {
	case f.has(at) || !n.ReplicationAddress.IsValid():
	case n.Witness:
		f.add(at, "leave it out", "a witness replicates nothing")
	case n.Address.IsValid() && n.Address.Is4() != n.ReplicationAddress.Is4():
		f.add(at, "use one family", "%s and the address %s are of different families", n.ReplicationAddress, n.Address)
	case slices.ContainsFunc(c.Services, func(s Service) bool { return s.Advertised.Addr() == n.ReplicationAddress }):
		f.add(at, "write the node's own address on the other network", "%s is an advertised address", n.ReplicationAddress)
	default:
		checkAddress(f, at, n.ReplicationAddress)
	}
}

func checkName(f *findings, at, name string) {
	switch bad := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}); {
	case f.has(at):
	case name == "":
		f.add(at, "give it one", "the name is missing")
	case bad >= 0 || len(name) > 63:
		f.add(at, "use at most 63 letters, digits and - _ .", "%q is not a name", name)
	}
}

// checkAddress refuses addresses that no host on a network can have.
func checkAddress(f *findings, at string, a netip.Addr) {
	const remedy = "write the address that the host has on the network"
	switch {
	case !a.IsValid():
		f.add(at, remedy, "the address is missing")
	case a.Is4In6() || a.Zone() != "":
		f.add(at, "write it as plain IPv4 or IPv6", "%s is mapped or has a zone", a)
	case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
		f.add(at, remedy, "%s is not the address of one host", a)
	}
}

func checkSelf(f *findings, c *Config) {
	var names []string
	for _, n := range c.Nodes {
		if n.Name != "" && !slices.Contains(names, n.Name) {
			names = append(names, n.Name)
		}
	}
	if slices.Contains(names, c.Name) || f.has("name") || len(names) == 0 {
		checkServes(f, c)
		return
	}
	f.add("name", "set name or give --name, one of "+strings.Join(names, ", "), "this node, %q, is not among the nodes", c.Name)
}

// checkServes refuses a file by which this node has nothing to do.
func checkServes(f *findings, c *Config) {
	i := c.Index(c.Name)
	serves := func(s Service) bool { return s.Has(c.Name) || len(s.Nodes) == 0 || s.Has("") } // else another mistake says it
	if i < 0 || c.Nodes[i].Witness || len(c.Services) == 0 || slices.ContainsFunc(c.Services, serves) {
		return
	}
	f.add(index("node", i), "add it to the nodes of a service, or write witness = true", "no service names this node, %s", c.Name)
}

// seen refuses a value that another key has already.
type seen map[string]string

func (s seen) check(f *findings, at, value string) {
	if value == "" {
		return
	}
	if first, twice := s[value]; twice {
		f.add(at, "change one of them", "%s is also %s", value, first)
		return
	}
	s[value] = at
}

// checkPorts refuses two listeners of this node on one port. Every node keeps the forwarding
// ports of all services, so that they mean the same everywhere.
func checkPorts(f *findings, c *Config) {
	ports := seen{}
	ports.check(f, "session_port", port(c.SessionPort))
	ports.check(f, "gossip_port", port(c.GossipPort))
	for i, s := range c.Services {
		at := index("service", i) + ".forward"
		switch {
		case !s.Advertised.IsValid() || f.has(at):
		case s.Forward == 0:
			f.add(at, "set forward to a free port", "%d + port %d is beyond 65535", ForwardBase, s.Advertised.Port())
		default:
			ports.check(f, at, port(s.Forward))
		}
	}
	if m, err := netip.ParseAddrPort(c.Metrics); err == nil {
		checkMetrics(f, c, netip.AddrPortFrom(m.Addr().Unmap(), m.Port()), ports)
	}
}

// checkMetrics refuses a metrics port that clients reach, or that another listener has. ports are
// those of this node's own address.
func checkMetrics(f *findings, c *Config, m netip.AddrPort, ports seen) {
	if slices.ContainsFunc(c.Services, func(s Service) bool { return s.Advertised.Addr() == m.Addr() }) {
		f.add("metrics", `write it as in "127.0.0.1:9901", or with this node's own address`, "%s is an advertised address, and clients must not reach it", m.Addr())
	}
	if m.Addr().IsUnspecified() {
		for i, s := range c.Services {
			if s.Advertised.Port() == m.Port() && !f.has("metrics") {
				f.add("metrics", "choose another port, or one address", "%s is every address, and %s is %s.advertised", m, s.Advertised, index("service", i))
			}
		}
	}
	if m.Addr().IsUnspecified() || c.Index(c.Name) >= 0 && m.Addr() == c.Self().Address {
		ports.check(f, "metrics", port(m.Port()))
	}
}

func port(p uint16) string {
	if p == 0 {
		return ""
	}
	return "port " + strconv.Itoa(int(p))
}

func checkTiming(f *findings, t Timing) {
	durations := []struct {
		key string
		d   time.Duration
	}{
		{"heartbeat", t.Heartbeat}, {"suspect_after", t.SuspectAfter}, {"probe_every", t.ProbeEvery},
		{"hang_timeout", t.HangTimeout}, {"lease", t.Lease}, {"start_wait", t.StartWait},
		{"fence_timeout", t.FenceTimeout}, {"hook_timeout", t.HookTimeout}, {"confirm_timeout", t.ConfirmTimeout}, {"gossip_probe", t.GossipProbe},
		{"gossip_timeout", t.GossipTimeout}, {"rejoin_every", t.RejoinEvery},
	}
	if t.TurnOver < 0 || t.TurnOver > time.Hour {
		f.add("timing.turn_over", `choose "0s" (off) to "1h"`, "%s is out of range", t.TurnOver)
	}
	for _, d := range durations {
		if d.d < time.Millisecond || d.d > time.Hour {
			f.add("timing."+d.key, `choose "1ms" to "1h"`, "%s is out of range", d.d)
		}
	}
	if t.Probes < 1 || t.Probes > 100 {
		f.add("timing.probes", "choose 1 to 100", "%d is out of range", t.Probes)
	}
	if least := t.HangTimeout * 7 / 10; t.ConfirmTimeout < least && !f.has("timing.confirm_timeout") && !f.has("timing.hang_timeout") {
		f.add("timing.confirm_timeout", fmt.Sprintf("choose %s or more", least),
			"%s is too short for hang_timeout: a backup that stands still for 0.7 of that is not given up, and its flows must not be either", t.ConfirmTimeout)
	}
	for _, o := range []struct {
		key, than string
		a, b      time.Duration
		why       string
	}{
		{"heartbeat", "suspect_after", 2 * t.Heartbeat, t.SuspectAfter, "at least two heartbeats must fit into it, or a healthy peer is suspected"},
		{"suspect_after", "hang_timeout", t.SuspectAfter, t.HangTimeout, "suspicion comes before the verdict"},
		{"gossip_timeout", "gossip_probe", t.GossipTimeout, t.GossipProbe, "a probe must end before the next"},
		{"lease", "hang_timeout", t.Lease, t.HangTimeout * 7 / 10, "it must lapse within 0.7 of that, before the peer claims"},
		{"probe_every", "lease", 2 * t.ProbeEvery, min(t.Lease, t.HangTimeout/2), "a node that has not looked for as long as a lease doubts all it knows, and waits anew"},
	} {
		if key := "timing." + o.key; o.a >= o.b && !f.has(key) && !f.has("timing."+o.than) {
			f.add(key, o.why, "too long for %s: %s must be below %s", o.than, o.a, o.b)
		}
	}
	if need := t.Lease + 2*t.SuspectAfter; t.HangTimeout*7/10 < need && !f.has("timing.hang_timeout") && !f.has("timing.lease") && !f.has("timing.suspect_after") {
		least := (need*10/7 + time.Millisecond).Truncate(time.Millisecond)
		f.add("timing.hang_timeout", fmt.Sprintf("choose %s or more, or a shorter lease", least),
			"%s is too short for a lease of %s and suspect_after of %s: a primary could not renew its lease in time", t.HangTimeout, t.Lease, t.SuspectAfter)
	}
}

func checkLimits(f *findings, l Limits) {
	checkRequestLimits(f, l)
	for _, n := range []struct {
		key          string
		n, low, high int64
	}{
		{"body_memory", int64(l.BodyMemory), 4096, 1 << 40}, {"max_flows", int64(l.MaxFlows), 1, 1 << 24},
		{"max_half_open", int64(l.MaxHalfOpen), 1, 1 << 20}, {"queue_length", int64(l.QueueLength), 64, 1 << 20},
		{"ledger", int64(l.Ledger), 16, 65536}, {"workers", int64(l.Workers), 0, 64},
	} {
		if key := "limits." + n.key; !f.has(key) && (n.n < n.low || n.n > n.high) {
			f.add(key, fmt.Sprintf("choose %d to %d", n.low, n.high), "%d is out of range", n.n)
		}
	}
}
