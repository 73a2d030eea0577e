package drill

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// upstreams returns the scenarios in which the web server fails: the peer executes what it failed,
// once, and the connections and the pair stay.
func upstreams() []Scenario {
	return []Scenario{{
		Name: "process/upstream-killed",
		About: "the primary's web server is killed with three requests under way, and started again later; " +
			"the peer executes them and becomes primary, and nothing moves back",
		Run: upstreamKilled,
	}, {
		Name: "process/upstream-hung",
		About: "the primary's web server stands still, but takes connections; after upstream_timeout the peer " +
			"executes what it was asked, and the pair stays",
		Config: lab.Config{Service: `upstream_timeout = "400ms"`},
		Run:    upstreamHung,
	}, {
		Name: "process/upstream-cut",
		About: "the web server closes in the middle of a reply, of known length and chunked; the peer makes the " +
			"reply, and where its server closes as well the client gets one 502 and its connection goes on",
		Run: upstreamCut,
	}, {
		Name: "process/killer-request",
		About: "a request kills every web server that executes it; it is tried on both hosts and no more, the " +
			"client gets one 502, its connection goes on and the pair stays",
		Run: killerRequest,
	}}
}

// stayed shows that each service has this primary, without a claim, and serves on the connections.
func (r *Round) stayed(ctx context.Context, primary func(*Service) *lab.Host, conns ...*client.Conn) error {
	for i, c := range conns {
		r.Report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("after%d", i), 5000)))
	}
	if err := r.haveRoles(ctx, primary); err != nil {
		return err
	}
	return r.whole(ctx)
}

// well waits until both nodes find their web servers healthy.
func (r *Round) well(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, duplexWait)
	defer cancel()
	for _, h := range []*lab.Host{r.A, r.B} {
		if err := r.await(ctx, h, "has a healthy web server", func(_ *Service, s lab.ServiceStatus) bool { return s.Upstream == "healthy" }); err != nil {
			return err
		}
	}
	return nil
}

// app returns the web server's process on a host.
func app(h *lab.Host) (last *lab.Process) {
	for _, p := range h.Processes() {
		if p.Name == "app" {
			last = p
		}
	}
	return last
}

// ask makes one request on each connection at once. The returned function waits for all.
func (r *Round) ask(ctx context.Context, conns []*client.Conn, next func(id string) client.Request) (ids []string, wait func()) {
	var wg sync.WaitGroup
	for i, c := range conns {
		id := fmt.Sprintf("asked%d", i)
		ids = append(ids, id)
		wg.Go(func() { r.Report.Add(c.Do(ctx, next(id))) })
	}
	return ids, wg.Wait
}

func closeAll(conns []*client.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func upstreamKilled(ctx context.Context, r *Round) error {
	if err := r.well(ctx); err != nil {
		return err
	}
	conns, err := r.open(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	_, wait := r.ask(ctx, conns[:3], func(id string) client.Request { return client.Slow(id, time.Second) })
	defer wait()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	server := app(r.Primary)
	if err := r.Inject("the web server of "+r.title(r.Primary)+" is killed", server.Kill); err != nil {
		return err
	}
	<-server.Done()
	r.Report.Add(conns[3].Do(ctx, client.Bytes("without", 5000)))
	wait()
	waiting, cancel := context.WithTimeout(ctx, duplexWait)
	defer cancel()
	if err := r.await(waiting, r.Backup, "has the primary's part", func(_ *Service, s lab.ServiceStatus) bool { return s.Role == "primary" }); err != nil {
		return err
	}
	if err := r.startApp(r.Primary); err != nil {
		return err
	}
	if err := r.well(ctx); err != nil {
		return err
	}
	return r.stayed(ctx, func(*Service) *lab.Host { return r.Backup }, conns...)
}

func upstreamHung(ctx context.Context, r *Round) error {
	if err := r.well(ctx); err != nil {
		return err
	}
	conns, err := r.open(ctx, 2)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	server := app(r.Primary)
	if err := r.Inject("the web server of "+r.title(r.Primary)+" stands still", server.Stop); err != nil {
		return err
	}
	for !crashpoint.Stopped(server.PID()) { // a signal takes its time to reach every thread
		if err := Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	_, wait := r.ask(ctx, conns, func(id string) client.Request { return client.Bytes(id, 5000) })
	wait()
	r.Rules.Once = false // it executes late what it was asked, for nobody
	if err := server.Cont(); err != nil {
		return err
	}
	r.Remark("it goes on")
	return r.stayed(ctx, func(s *Service) *lab.Host { return s.Primary }, conns...)
}

func upstreamCut(ctx context.Context, r *Round) error {
	if err := r.well(ctx); err != nil {
		return err
	}
	conns, err := r.open(ctx, 2)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	begun := r.Setting.promise().begun
	var refused, short []string
	for _, on := range []string{r.Primary.Name, ""} {
		for _, chunked := range []string{"", "&chunked=1"} {
			for _, size := range []int64{1000, 3 << 20} {
				r.Remark(fmt.Sprintf("the web server cuts replies of %d bytes, on host %q%s", size, on, chunked))
				c, err := r.Client.Dial(ctx)
				if err != nil {
					return err
				}
				id := fmt.Sprintf("cut%d%s%s", size, on, chunked)
				r.Report.Add(c.Do(ctx, client.Request{ID: id, Upload: -1,
					Path: fmt.Sprintf("/cut?id=%s&size=%d&on=%s%s", url.QueryEscape(id), size, on, chunked)}))
				switch {
				case begun != nil && begun(size, chunked != "") && !c.Usable():
					short = append(short, id)
					c.Close()
					continue
				case on == "":
					refused = append(refused, id)
				}
				conns = append(conns, c)
			}
		}
	}
	r.refusals(http.StatusBadGateway, short, refused...)
	return r.stayed(ctx, func(s *Service) *lab.Host { return s.Primary }, conns...)
}

func killerRequest(ctx context.Context, r *Round) error {
	if err := r.well(ctx); err != nil {
		return err
	}
	conns, err := r.open(ctx, 3)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	var ids []string
	for i, c := range conns[:2] {
		id := fmt.Sprintf("killer%d", i)
		ids = append(ids, id)
		servers := []*lab.Process{app(r.A), app(r.B)}
		r.Remark("a request comes that kills its web server")
		r.Report.Add(c.Do(ctx, client.Request{ID: id, Path: "/crash?id=" + id, Upload: -1}))
		waiting, cancel := context.WithTimeout(ctx, hitWithin)
		defer cancel()
		for k, h := range []*lab.Host{r.A, r.B} {
			if _ = servers[k].Wait(waiting); !servers[k].Exited() {
				return fmt.Errorf("the web server of %s lives", h.Name)
			}
			if err := r.startApp(h); err != nil {
				return err
			}
		}
		if err := r.well(ctx); err != nil {
			return err
		}
	}
	r.refusals(http.StatusBadGateway, nil, ids...)
	return r.stayed(ctx, func(s *Service) *lab.Host {
		if st, err := states(ctx, s.Backup); err == nil && st[s.Name].Role == "primary" {
			return s.Backup // its web server was back first
		}
		return s.Primary
	}, conns...)
}
