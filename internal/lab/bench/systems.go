package bench

import (
	"context"
	"fmt"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
)

// The systems.
const (
	Unreplicated = "unreplicated"
	Twice        = "2 × unreplicated"
	HAProxy      = "haproxy"
	Null         = "null proxy"
	Simplex      = "simplex"
	Duplex       = "duplex"
	Timed        = "duplex, timed"
	DuplexMI     = "duplex-mi"
	Static       = "static"
	SyncStatic   = "sync-static"
	DualRole     = "dual-role"
)

// The hosts' names in what is measured.
const (
	hostA = lab.NameA
	hostB = lab.NameB
)

const (
	secondAddress = "192.0.2.101:80" // of the dual-role system
	accessLog     = "access.json"    // of the timed system, in the host's state directory
)

// system is something that serves.
type system struct {
	name, about string
	// start has it serve on the stand, and returns where.
	start func(context.Context, *stand) (targets []string, err error)
	// missing says why it cannot run here; nil: it always can.
	missing func() string
}

// systems are all that there are, in the order of the tables.
func systems() []system {
	return []system{
		{name: Unreplicated, about: "host a's web server alone: clients ask it directly", start: direct(hostA)},
		{name: Twice, about: "two such hosts, half of the clients each", start: direct(hostA, hostB)},
		{name: HAProxy, about: "HAProxy in front of the web server, on host a", start: behindHAProxy},
		{name: Null, about: "ftgw's HTTP proxy and kernel queues, which only relay (paper 000, null proxies)", start: relayed},
		{name: Simplex, about: "ftgw on host a alone, its peer being dead", start: simplex},
		{name: Duplex, about: "ftgw on both hosts, replies logged", start: pair("")},
		{name: Timed, about: "the same with an access log", start: pair("access_log = \"" + accessLog + "\"\naccess_log_format = \"json\"\n")},
		{name: DuplexMI, about: "duplex with a cable of its own between the hosts", start: dedicated, missing: noDedicated},
		{name: Static, about: "duplex, all routes in mode static", start: pair(route("static"))},
		{name: SyncStatic, about: "duplex, all routes in mode sync-static", start: pair(route("sync-static"))},
		{name: DualRole, about: "ftgw on both hosts, each primary of one address and backup of the other", start: dualRole},
	}
}

func route(mode string) string {
	return fmt.Sprintf("[[service.route]]\npath = \"/\"\nmode = %q\n", mode)
}

// direct has the hosts' web servers answer on their own addresses.
func direct(names ...string) func(context.Context, *stand) ([]string, error) {
	return func(_ context.Context, s *stand) (targets []string, err error) {
		for _, h := range s.hosts() {
			for _, name := range names {
				if h.Name != name {
					continue
				}
				at := ownAddress(h)
				if err := s.web(h, at); err != nil {
					return nil, err
				}
				targets = append(targets, at)
			}
		}
		return targets, nil
	}
}

// pair is ftgw in duplex with these keys of its service.
func pair(keys string) func(context.Context, *stand) ([]string, error) {
	return func(ctx context.Context, s *stand) ([]string, error) {
		return []string{lab.Advertised}, s.pair(ctx, lab.Config{Service: keys})
	}
}

func simplex(ctx context.Context, s *stand) ([]string, error) {
	if err := s.WriteConfig(lab.Config{Tail: "[timing]\nstart_wait = \"500ms\"\n"}); err != nil {
		return nil, err
	}
	if err := s.node(s.A); err != nil {
		return nil, err
	}
	_, err := s.A.Await(ctx, "host a alone", func(v lab.ServiceStatus) bool { return v.Role == "sole" && v.Owner == hostA })
	return []string{lab.Advertised}, err
}

func dualRole(ctx context.Context, s *stand) ([]string, error) {
	second := lab.Service{Name: "second", Advertised: secondAddress, List: []string{hostB, hostA}, Keys: "forward = 20081"}
	if err := s.pair(ctx, lab.Config{More: []lab.Service{second}}); err != nil {
		return nil, err
	}
	for _, h := range s.hosts() {
		_, err := h.AwaitService(ctx, second.Name, "duplex", func(v lab.ServiceStatus) bool { return v.InSync && v.Mode == "duplex" })
		if err != nil {
			return nil, err
		}
	}
	return []string{lab.Advertised, secondAddress}, nil
}

func relayed(_ context.Context, s *stand) ([]string, error) {
	if err := s.web(s.A, lab.Upstream); err != nil {
		return nil, err
	}
	at := ownAddress(s.A)
	p, err := s.A.Start("relay", s.program, "lab-relay", "--listen", at, "--upstream", lab.Upstream)
	if err != nil {
		return nil, err
	}
	return []string{at}, listens(s.A, p, at)
}

func behindHAProxy(_ context.Context, s *stand) ([]string, error) {
	if err := s.web(s.A, lab.Upstream); err != nil {
		return nil, err
	}
	at := ownAddress(s.A)
	p, err := haproxy(s.A, at)
	if err != nil {
		return nil, err
	}
	return []string{at}, listens(s.A, p, at)
}

// noDedicated says why there is no duplex-mi: the config must know a second address of a node.
func noDedicated() string {
	const text = `secret_file = "/secret"
node = [{name = "a", address = "192.0.2.11", replication_address = "203.0.113.11"}, {name = "b", address = "192.0.2.12", replication_address = "203.0.113.12"}]
service = [{name = "web", advertised = "192.0.2.100:80", nodes = ["a", "b"], upstream = "127.0.0.1:8080"}]
`
	if _, err := config.Parse([]byte(text), hostA); err != nil {
		return err.Error()
	}
	return ""
}

// dedicated is duplex whose records go over a second cable, which no figure shapes narrower than
// the first.
func dedicated(ctx context.Context, s *stand) ([]string, error) {
	address := map[*lab.Host]string{s.A: "203.0.113.11", s.B: "203.0.113.12"}
	if err := s.join(address); err != nil {
		return nil, err
	}
	nodes := map[string]string{}
	for h, a := range address {
		nodes[h.Name] = fmt.Sprintf("replication_address = %q", a)
	}
	return []string{lab.Advertised}, s.pair(ctx, lab.Config{Nodes: nodes})
}
