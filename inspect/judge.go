package inspect

import (
	"net/netip"
	"slices"
	"strings"
)

const asRoot = "run: sudo ftgw check"

// Judge returns what is to be said of the facts, in the order of the checks.
func Judge(f Facts) []Finding {
	var l list
	l.privileges(f)
	l.daemon(f)
	if !f.Witness {
		l.kernel(f)
	}
	l.place(f)
	if !f.Witness && f.Place.Interface != "" {
		l.lro(f)
		l.sysctls(f)
	}
	l.stations(f)
	l.ports(f)
	switch {
	case f.StateDenied:
		l.add(StateDir, Skipped, asRoot, "not looked at: this user may not write it")
	case f.StateDir != "":
		l.blame(StateDir, Fail, f.StateDir)
	default:
		l.add(StateDir, OK, "", "can be written")
	}
	for _, w := range f.Web {
		if w.Problem != "" {
			l.add(Upstream, Warning, "start the web server, or correct upstream", "service %s: nothing answers at %s: %s", w.Service, w.Address, w.Problem)
		} else {
			l.add(Upstream, OK, "", "service %s: %s takes connections", w.Service, w.Address)
		}
	}
	l.peers(f)
	l.firewall(f)
	return l
}

func (l *list) privileges(f Facts) {
	switch {
	case f.Witness && len(f.Lacks) > 0:
		l.add(Privileges, OK, "", "a witness needs none but for its port")
	case len(f.Lacks) > 0:
		l.add(Privileges, Warning, asRoot+"; run itself needs root or these capabilities",
			"this process lacks %s, so not everything is looked at", strings.Join(f.Lacks, ", "))
	default:
		l.add(Privileges, OK, "", "this process has all that run needs")
	}
}

func (l *list) daemon(f Facts) {
	switch r := f.Running; {
	case r == nil:
		l.add(Daemon, OK, "", "no ftgw runs here yet")
	case !r.Asked:
		l.add(Daemon, Skipped, asRoot, "ftgw runs here; whether with this config was not asked at %s", r.Socket)
	case r.Other:
		l.add(Daemon, Warning, "run ftgw reload, which says if a restart is needed", "ftgw runs here with another config than this file")
	default:
		l.add(Daemon, OK, "", "ftgw runs here with this config")
	}
}

func (l *list) kernel(f Facts) {
	k := f.Kernel
	if k == nil {
		l.add(KernelHas, Skipped, asRoot, "nftables, NFQUEUE and raw sockets: not looked at without NET_ADMIN and NET_RAW")
		return
	}
	for _, p := range k.Problems {
		l.blame(KernelHas, Fail, p)
	}
	if len(k.Problems) > 0 {
		return
	}
	queue := "nftables' own queue"
	if !k.Queue {
		queue = "the xt target NFQUEUE"
	}
	if !k.Egress {
		l.add(KernelHas, Warning, "a kernel of Linux 5.16 or later with CONFIG_NETFILTER_EGRESS",
			"%s has nftables with %s and no egress hook: what already waits in the kernel when a lease ends can still leave", k.Release, queue)
		return
	}
	l.add(KernelHas, OK, "", "%s takes the rules, with %s", k.Release, queue)
}

func (l *list) place(f Facts) {
	p := f.Place
	if p.Problem != "" {
		l.blame(Interface, Fail, p.Problem)
		return
	}
	if p.Interface == "" { // a witness is reached by any
		return
	}
	if !p.Up {
		l.add(Interface, Fail, "ip link set "+p.Interface+" up, and look at the cable", "%s is down", p.Interface)
	} else {
		l.add(Interface, OK, "", "%s has %v, MTU %d", p.Interface, f.Own, p.MTU)
	}
	if p.Apart != "" {
		l.blame(Interface, Fail, p.Apart)
	}
	if p.Elsewhere != "" {
		l.blame(Address, Fail, p.Elsewhere)
	}
	for _, v := range f.Advertised {
		if !slices.ContainsFunc(p.Subnets, func(s netip.Prefix) bool { return s.Contains(v) }) {
			l.add(Address, Fail, "advertise an address of the hosts' subnet", "%v is in no subnet of %s (%s), so nobody would ask for it there", v, p.Interface, joined(p.Subnets))
		}
	}
}

func joined(subnets []netip.Prefix) string {
	var all []string
	for _, s := range subnets {
		all = append(all, s.Masked().String())
	}
	return strings.Join(all, ", ")
}

func (l *list) lro(f Facts) {
	switch {
	case f.NoLRO != "":
		l.blame(LRO, Skipped, f.NoLRO)
	case len(f.LRO) == 0:
		l.add(LRO, OK, "", "large receive offload is off")
	}
	for _, i := range f.LRO {
		l.add(LRO, Fail, "ethtool -K "+i+" lro off, and at each start of the host", "%s merges received segments into ones that are larger than the MTU and cannot be cloned", i)
	}
}

func (l *list) ports(f Facts) {
	free, held := 0, 0
	for _, p := range f.Ports {
		switch {
		case p.Denied:
			l.add(Ports, Skipped, asRoot, "%s: not looked at without NET_BIND_SERVICE", p.What)
		case p.Wrong != "":
			l.add(Ports, Fail, "", "%s: %s", p.What, p.Wrong)
		case p.Taken && f.Running != nil:
			held++
		case p.Taken && p.Key == "":
			l.add(Ports, Fail, "stop the program that listens there (see: ss -lntp), or let it listen on other addresses or ports only, as an upstream does", "%s is in use by another program", p.What)
		case p.Taken:
			l.add(Ports, Fail, "stop the program that has it (see: ss -lntup), or set "+p.Key+" to a free one on every node", "%s is in use by another program", p.What)
		case f.Running != nil:
			l.add(Ports, Warning, "restart ftgw, which runs with another config", "%s is free, though ftgw runs", p.What)
		default:
			free++
		}
	}
	switch {
	case held > 0:
		l.add(Ports, OK, "", "%d are held by the running ftgw", held)
	case free > 0:
		l.add(Ports, OK, "", "%d are free", free)
	}
}
