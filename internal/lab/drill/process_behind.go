package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ftgw/ftgw/internal/lab/client"
)

// behinds returns the scenarios in which the web server fails of the host that is to take over.
func behinds() []Scenario {
	return []Scenario{{
		Name: "process/backup-behind", Rounds: 3,
		About: "the backup's web server stands still, the primary (host, then ftgw) dies while replies are made that it should have " +
			"made as well, and the web server goes on; in round 3 nobody dies",
		Run: backupBehind,
	}, {
		Name: "process/backup-cannot", Rounds: 2,
		About: "the backup's web server is dead when the primary (host, then ftgw) dies, and comes back later; clients get a 502, " +
			"or the connection ends where a reply had begun, and nobody gets a wrong byte",
		Run: backupCannot,
	}}
}

// brisk makes small requests, one right after the other on each of some connections.
func (l *load) brisk() {
	for k := range 8 {
		l.repeat(l.r.Client, fmt.Sprintf("brisk%d", k), 0, func(id string, i int) client.Request {
			switch (k + i) % 4 {
			case 1:
				return client.Chunked(id, 30_000)
			case 2:
				return client.Upload(id, 3000)
			}
			return client.Bytes(id, 2000)
		})
	}
}

func backupBehind(ctx context.Context, r *Round) error {
	server := app(r.Backup)
	l := r.load(ctx)
	defer l.finish()
	l.brisk()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := server.Stop(); err != nil {
		return err
	}
	r.remark("the web server of " + r.title(r.Backup) + " stands still")
	if err := Sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	if r.Number%3 < 2 {
		if err := r.Crash(r.Primary, How(r.Number%3 == 1)); err != nil {
			return err
		}
		if err := r.AwaitSole(ctx, r.Backup); err != nil {
			return err
		}
	}
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := server.Cont(); err != nil {
		return err
	}
	r.remark("it goes on")
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	l.finish()
	return nil
}

// backupCannot lets requests fail that the survivor cannot execute. In a mode in which replies go out
// that it does not have, their connections end.
func backupCannot(ctx context.Context, r *Round) error {
	again := r.Setting.promise().again
	r.Rules.Whole, r.Rules.NoReset = false, false // judged here
	r.Check(func(s *Seen) error {
		var errs []error
		for _, x := range s.Results {
			refused := x.Failure == client.BadState && x.Status == http.StatusBadGateway
			ended := again(x) && (x.Failure == client.Reset || x.Failure == client.EOF)
			if !x.OK() && (!refused && !ended || x.ID == "new" || x.End.Before(r.struck)) {
				errs = append(errs, errors.New(x.String()))
			}
		}
		return errors.Join(errs...)
	})
	server := app(r.Backup)
	l := r.load(ctx)
	defer l.finish()
	l.brisk()
	if err := Sleep(ctx, 150*time.Millisecond); err != nil {
		return err
	}
	if err := server.Kill(); err != nil {
		return err
	}
	<-server.Done()
	r.remark("the web server of " + r.title(r.Backup) + " is killed")
	if err := Sleep(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	if err := r.Crash(r.Primary, How(r.Number%2 == 1)); err != nil {
		return err
	}
	if err := r.AwaitSole(ctx, r.Backup); err != nil {
		return err
	}
	if err := Sleep(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	l.finish()
	if err := r.startApp(r.Backup); err != nil {
		return err
	}
	r.Report.Add(r.Client.Once(ctx, client.Bytes("new", 5000)))
	return nil
}
