package drill

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/capture"
	"github.com/ftgw/ftgw/internal/lab/client"
	"github.com/ftgw/ftgw/internal/lab/oracle"
)

// The second address of two hosts in dual-role. Its port is that of the first one, so that its
// clones need a port of their own.
const (
	secondAddress = "192.0.2.101:80"
	secondForward = config.ForwardBase + 81
)

// Service is one advertised address of the pair.
type Service struct {
	Name            string
	At              netip.AddrPort
	Forward         uint16    // port of the clones
	Primary, Backup *lab.Host // their roles when the round began

	group string // in the nodes' logs
}

// services returns those of the setting, without their roles.
func (s Setting) services() []*Service {
	all := []*Service{{Name: "web", At: advertised, Forward: config.ForwardBase + advertised.Port(), group: lab.NameA + "," + lab.NameB}}
	if s.DualRole {
		all = append(all, &Service{Name: "shop", At: netip.MustParseAddrPort(secondAddress), Forward: secondForward, group: lab.NameB + "," + lab.NameA})
	}
	return all
}

// service returns that of an address; nil where there is none.
func (r *Round) service(target string) *Service {
	for _, s := range r.Services {
		if s.At.String() == target {
			return s
		}
	}
	return nil
}

// connections returns those to all services.
func (r *Round) connections(segments []capture.Segment) (all []*oracle.Connection) {
	for _, s := range r.Services {
		all = append(all, oracle.Connections(segments, s.At)...)
	}
	return all
}

// clients returns a client whose connections go to the services in turn, as those of clients do that
// have both addresses from the DNS.
func (r *Round) clients() *client.Client {
	c := client.Client{Namespace: r.Lab.Client, Target: r.Services[0].At.String(), Timeout: patience}
	if len(r.Services) > 1 {
		var turn atomic.Uint64
		c.Choose = func() string { return r.Services[turn.Add(1)%uint64(len(r.Services))].At.String() }
	}
	return &c
}

// only returns a client like c of the n-th service, counted in a circle.
func (r *Round) only(c *client.Client, n int) *client.Client {
	one := *c
	one.Target, one.Choose = r.Services[n%len(r.Services)].At.String(), nil
	return &one
}

// await waits until a host's node says of all services what is wanted.
func (r *Round) await(ctx context.Context, h *lab.Host, what string, ok func(*Service, lab.ServiceStatus) bool) error {
	for _, s := range r.Services {
		if _, err := h.AwaitService(ctx, s.Name, s.Name+" "+what, func(x lab.ServiceStatus) bool { return ok(s, x) }); err != nil {
			return err
		}
	}
	return nil
}

// AwaitSole waits until a host's node serves alone.
func (r *Round) AwaitSole(ctx context.Context, h *lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, soleWait)
	defer cancel()
	return r.await(ctx, h, "serving alone", func(_ *Service, s lab.ServiceStatus) bool { return s.Role == "sole" })
}

// AwaitDuplex waits until both hosts say of every service that they are in sync in duplex.
func (r *Round) AwaitDuplex(ctx context.Context) error {
	for _, h := range []*lab.Host{r.A, r.B} {
		if err := r.await(ctx, h, "duplex", func(_ *Service, s lab.ServiceStatus) bool { return s.InSync && s.Mode == "duplex" }); err != nil {
			return err
		}
	}
	return nil
}

// states returns what a host's node says of each service, by name.
func states(ctx context.Context, h *lab.Host) (map[string]lab.ServiceStatus, error) {
	st, err := h.Status(ctx)
	return byName(st), err
}

func byName(st lab.Status) map[string]lab.ServiceStatus {
	all := make(map[string]lab.ServiceStatus)
	for _, s := range st.Services {
		all[s.Name] = s
	}
	return all
}

// takeRoles notes who is primary and backup of each service, and what the nodes counted so far.
func (r *Round) takeRoles(ctx context.Context) error {
	r.before = make(map[*lab.Process]map[string]lab.ServiceStatus)
	for _, s := range r.Services {
		s.Primary, s.Backup = nil, nil
	}
	for _, h := range []*lab.Host{r.A, r.B} {
		all, err := states(ctx, h)
		if err != nil {
			return err
		}
		r.before[h.Node()] = all
		for _, s := range r.Services {
			switch all[s.Name].Role {
			case "primary":
				s.Primary = h
			case "backup":
				s.Backup = h
			}
		}
	}
	for _, s := range r.Services {
		if s.Primary == nil || s.Backup == nil {
			return fmt.Errorf("of %s a is %s and b is %s, want a primary and a backup", s.Name, r.before[r.A.Node()][s.Name].Role, r.before[r.B.Node()][s.Name].Role)
		}
	}
	r.Primary, r.Backup = r.Services[0].Primary, r.Services[0].Backup
	return nil
}

// cross makes each host the primary of one service: a host that came back is backup of both.
func (r *Round) cross(ctx context.Context) error {
	if len(r.Services) < 2 || r.Services[0].Primary != r.Services[1].Primary {
		return nil
	}
	h, last := r.Primary, r.Services[1].Name
	p, err := h.Start("switchover", r.program, "switchover", last, "--socket", h.Socket())
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("cross the roles: %w\n%s", err, p.Log())
	}
	if err := r.AwaitDuplex(ctx); err != nil {
		return err
	}
	return r.takeRoles(ctx)
}
