package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ftgw/ftgw/internal/crashpoint"
	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// upstreams returns the scenarios in which the web server fails: the request that it had gets
// one error reply, the connection and the pair stay.
func upstreams() []Scenario {
	const ends = "; the client gets one 502 for it, its connection goes on and the pair stays"
	return []Scenario{{
		Name:  "process/upstream-killed",
		About: "the primary's web server is killed with three requests under way, and started again later" + ends,
		Run:   upstreamKilled,
	}, {
		Name:   "process/upstream-hung",
		About:  "the primary's web server stands still; after upstream_timeout the client gets one 504, its connection goes on and the pair stays",
		Config: lab.Config{Service: `upstream_timeout = "400ms"`},
		Run:    upstreamHung,
	}, {
		Name:  "process/upstream-cut",
		About: "the web server closes in the middle of a reply, of known length and chunked" + ends,
		Run:   upstreamCut,
	}, {
		Name:  "process/killer-request",
		About: "a request kills every web server that executes it" + ends,
		Run:   killerRequest,
	}}
}

// refusals holds the round to this: the named requests end with that error reply, all others
// whole.
func (r *Round) refusals(status int, ids ...string) {
	r.Rules.Whole = false
	r.Check(func(s *Seen) error {
		var errs []error
		for _, x := range s.Results {
			if !slices.Contains(ids, x.ID) {
				if !x.OK() {
					errs = append(errs, errors.New(x.String()))
				}
			} else if x.Failure != client.BadState || x.Status != status {
				errs = append(errs, fmt.Errorf("want status %d: %v", status, x))
			}
		}
		return errors.Join(errs...)
	})
}

// stayed shows that the pair is as it was when the round began, and serves.
func (r *Round) stayed(ctx context.Context, conns ...*client.Conn) error {
	for i, c := range conns {
		r.Report.Add(c.Do(ctx, client.Bytes(fmt.Sprintf("after%d", i), 5000)))
	}
	for h, role := range map[*lab.Host]string{r.Primary: "primary", r.Backup: "backup"} {
		st, err := h.Status(ctx)
		if err != nil {
			return err
		}
		if s := st.Services[0]; s.Role != role || s.LastTakeover != nil && s.LastTakeover.At.After(r.begin) {
			return fmt.Errorf("%s was %s and did not stay so: %+v", h.Name, role, s)
		}
	}
	return r.whole(ctx)
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
	conns, err := r.open(ctx, 4)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	ids, wait := r.ask(ctx, conns[:3], func(id string) client.Request { return client.Slow(id, time.Second) })
	defer wait()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	server := app(r.Primary)
	if err := r.Inject("the web server of "+r.title(r.Primary)+" is killed", server.Kill); err != nil {
		return err
	}
	<-server.Done()
	wait()
	r.Report.Add(conns[3].Do(ctx, client.Bytes("without", 5000)))
	r.refusals(http.StatusBadGateway, append(ids, "without")...)
	if _, err := r.Primary.StartApp(r.program); err != nil {
		return err
	}
	return r.stayed(ctx, conns...)
}

func upstreamHung(ctx context.Context, r *Round) error {
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
	ids, wait := r.ask(ctx, conns, func(id string) client.Request { return client.Bytes(id, 5000) })
	wait()
	r.refusals(http.StatusGatewayTimeout, ids...)
	if err := server.Cont(); err != nil {
		return err
	}
	r.Remark("it goes on")
	return r.stayed(ctx, conns...)
}

func upstreamCut(ctx context.Context, r *Round) error {
	conns, err := r.open(ctx, 2)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	query := ""
	var all []string
	for range 2 {
		for _, size := range []int{1000, 3 << 20} {
			r.Remark(fmt.Sprintf("the web server cuts replies of %d bytes%s", size, query))
			c, err := r.Client.Dial(ctx)
			if err != nil {
				return err
			}
			id := fmt.Sprintf("cut%d%s", size, query)
			r.Report.Add(c.Do(ctx, client.Request{ID: id, Path: fmt.Sprintf("/cut?id=x&size=%d%s", size, query), Upload: -1}))
			conns, all = append(conns, c), append(all, id)
		}
		query = "&chunked=1"
	}
	r.refusals(http.StatusBadGateway, all...)
	return r.stayed(ctx, conns...)
}

func killerRequest(ctx context.Context, r *Round) error {
	conns, err := r.open(ctx, 3)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	var ids []string
	for i, c := range conns[:2] {
		id := fmt.Sprintf("killer%d", i)
		ids = append(ids, id)
		server := app(r.Primary)
		r.Remark("a request comes that kills its web server")
		r.Report.Add(c.Do(ctx, client.Request{ID: id, Path: "/crash?id=" + id, Upload: -1}))
		waiting, cancel := context.WithTimeout(ctx, hitWithin)
		defer cancel()
		if _ = server.Wait(waiting); !server.Exited() {
			return errors.New("the web server of the primary lives")
		}
		for _, h := range []*lab.Host{r.A, r.B} {
			if !running(h, "app") {
				if _, err := h.StartApp(r.program); err != nil {
					return err
				}
			}
		}
	}
	r.refusals(http.StatusBadGateway, ids...)
	return r.stayed(ctx, conns...)
}
