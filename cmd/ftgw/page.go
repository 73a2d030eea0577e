// The port of the web page and the metrics, of a node or a witness.
package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/ftgw/ftgw/metrics"
	"github.com/ftgw/ftgw/state"
	"github.com/ftgw/ftgw/web"
)

// shownAge is how old what the port shows may be: all readers together cost no more than one that
// asks so often.
const shownAge = 250 * time.Millisecond

// shown is the open port; nil serves nothing.
type shown struct{ net.Listener }

// listenPage opens the port that the key metrics names; nil if it is empty.
func listenPage(at string, undo *undoList) (*shown, error) {
	if at == "" {
		return nil, nil
	}
	l, err := web.Listen(at)
	if err != nil {
		return nil, err
	}
	undo.add(l.Close)
	return &shown{l}, nil
}

// serve answers until ctx ends.
func (p *shown) serve(ctx context.Context, status func() state.Status, log *slog.Logger) error {
	if p == nil {
		return nil
	}
	recent := web.Recent(status, shownAge)
	log.Info("web page and metrics", "at", "http://"+p.Addr().String()+"/")
	return web.New(web.Config{Status: recent, Metrics: metrics.NewHandler(recent, log), Log: log}).Run(ctx, p)
}
