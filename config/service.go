package config

import (
	"net/netip"
	"slices"
)

func checkServices(f *findings, c *Config) {
	if len(c.Services) == 0 && !f.has("service") {
		f.add("service", "write a [[service]] with name, advertised, nodes and upstream", "there is no service")
	}
	names, advertised, logs := seen{}, seen{}, map[string]string{}
	for i, s := range c.Services {
		at := index("service", i)
		checkName(f, at+".name", s.Name)
		names.check(f, at+".name", s.Name)
		checkAdvertised(f, at+".advertised", c, s.Advertised)
		if s.Advertised.IsValid() {
			advertised.check(f, at+".advertised", s.Advertised.String())
		}
		checkList(f, at+".nodes", c, s)
		checkUpstream(f, at+".upstream", s)
		if s.UpstreamTimeout <= 0 && !f.has(at+".upstream_timeout") {
			f.add(at+".upstream_timeout", `write it as in "60s"`, "%s is out of range", s.UpstreamTimeout)
		}
		if s.IdleTimeout <= 0 && !f.has(at+".idle_timeout") {
			f.add(at+".idle_timeout", `write it as in "75s"`, "%s is out of range", s.IdleTimeout)
		}
		checkHealth(f, at+".health_", s)
		checkHTTP(f, at, s, logs)
		checkRoutes(f, at, s)
	}
	checkOwners(f, c)
	checkGroups(f, c)
}

func checkAdvertised(f *findings, at string, c *Config, a netip.AddrPort) {
	if f.has(at) {
		return
	}
	if !a.IsValid() {
		f.add(at, `write it as in "192.0.2.100:80"`, "the advertised address is missing")
		return
	}
	checkAddress(f, at, a.Addr())
	if a.Port() == 0 {
		f.add(at, "choose 1 to 65535", "0 is not a port")
	}
	for i, n := range c.Nodes {
		if n.Address == a.Addr() {
			f.add(at, "choose an address that no host has: it moves between them", "%s is the own address of %s", a.Addr(), index("node", i))
		}
		if n.Address.IsValid() && n.Address.Is4() != a.Addr().Is4() && c.serves(n.Name, a) {
			f.add(at, "use one family", "%s and the address of %s are of different families", a.Addr(), index("node", i))
		}
	}
	if c.Probe == a.Addr() && !f.has("probe") {
		f.add("probe", "name a router or another host that is always there", "%s is an advertised address", c.Probe)
	}
	if a.Addr().Is6() && !f.has(at) {
		f.add(at, "use an IPv4 address", "IPv6 is not available in this version")
	}
}

// serves reports whether the named node serves the advertised address.
func (c *Config) serves(node string, a netip.AddrPort) bool {
	return slices.ContainsFunc(c.Services, func(s Service) bool { return s.Advertised == a && s.Has(node) })
}

// checkList holds a service to two or more nodes that serve, each named once.
func checkList(f *findings, at string, c *Config, s Service) {
	if f.has(at) {
		return
	}
	if len(s.Nodes) < 2 {
		f.add(at, "name the primary, then the backup", "a service needs two nodes or more, not %d", len(s.Nodes))
	}
	apart := 0
	for i, name := range s.Nodes {
		n, known := c.Node(name)
		if n.ReplicationAddress.IsValid() {
			apart++
		}
		switch {
		case f.has(index(at, i)):
		case !known:
			f.add(index(at, i), "write a [[node]] of that name, or correct it", "there is no node %q", name)
		case n.Witness:
			f.add(index(at, i), "name a node that serves", "%s is a witness and serves nothing", name)
		case slices.Index(s.Nodes, name) < i:
			f.add(index(at, i), "name each node once", "%s is named twice", name)
		}
	}
	if apart > 0 && apart < len(s.Nodes) {
		f.add(at, "write it for each of them, or for none", "%d of the %d nodes have a replication_address", apart, len(s.Nodes))
	}
}

// checkOwners holds services on one IP address to one list of nodes, since the address has one
// owner.
func checkOwners(f *findings, c *Config) {
	first := make(map[netip.Addr]int)
	for i, s := range c.Services {
		addr := s.Advertised.Addr()
		if !addr.IsValid() {
			continue
		}
		j, shared := first[addr]
		if !shared {
			first[addr] = i
		} else if !slices.Equal(s.Nodes, c.Services[j].Nodes) {
			f.add(index("service", i)+".nodes", "name the same nodes in the same order, or use another address",
				"%s has one owner, and %s names other nodes", addr, index("service", j))
		}
	}
}

// maxGroups bounds the groups of one node: it tells all others of each by gossip, a few bytes
// in a frame that holds no more.
const maxGroups = 60

func checkGroups(f *findings, c *Config) {
	groups := map[string]map[string]bool{} // by node
	for i, s := range c.Services {
		for _, name := range s.Nodes {
			if groups[name] == nil {
				groups[name] = map[string]bool{}
			}
			if !groups[name][s.Group()] && len(groups[name]) == maxGroups {
				f.add(index("service", i)+".nodes", "let services share a list of nodes", "%s is in %d different lists already, no more are possible", name, maxGroups)
			}
			groups[name][s.Group()] = true
		}
	}
}
