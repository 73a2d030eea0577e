package rules

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Watch hears from the kernel that somebody, this process included, changes the rules or what
// the second fence rests on. Leases are no change. It misses routes and devices, so look from
// time to time as well.
type Watch struct {
	table       string
	nft, routes *netlink.Conn
}

// The kernel's groups of notices, as masks: include/uapi/linux/netfilter/nfnetlink.h and
// rtnetlink.h.
const (
	nftGroup    = 1 << (unix.NFNLGRP_NFTABLES - 1)
	routeGroups = 1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1) |
		1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)
)

// OpenWatch opens the sockets in the calling thread's network namespace. The caller closes the
// Watch after Run has returned. It needs CAP_NET_ADMIN.
func OpenWatch(spec Spec) (*Watch, error) {
	w := &Watch{table: spec.table()}
	for _, s := range []struct {
		to       **netlink.Conn
		protocol int
		groups   uint32
	}{{&w.nft, unix.NETLINK_NETFILTER, nftGroup}, {&w.routes, unix.NETLINK_ROUTE, routeGroups}} {
		conn, err := netlink.Dial(s.protocol, &netlink.Config{Groups: s.groups})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("subscribe to changes of the rules: %w", explain(err)), w.Close())
		}
		*s.to = conn
	}
	return w, nil
}

// Close closes the sockets.
func (w *Watch) Close() (err error) {
	for _, c := range []*netlink.Conn{w.nft, w.routes} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// Run calls changed for each batch of notices until ctx ends, and returns nil then. changed is
// called from two goroutines and must not wait.
func (w *Watch) Run(ctx context.Context, changed func()) error {
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		w.nft.SetReadDeadline(time.Unix(1, 0))
		w.routes.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	g.Go(func() error { return hear(ctx, w.nft, w.ours, changed) })
	g.Go(func() error { return hear(ctx, w.routes, func(netlink.Message) bool { return true }, changed) })
	return g.Wait()
}

func hear(ctx context.Context, conn *netlink.Conn, matters func(netlink.Message) bool, changed func()) error {
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // notices were lost
			changed()
		case err != nil:
			return fmt.Errorf("listen for changes of the rules: %w", err)
		}
		for _, m := range messages {
			if matters(m) {
				changed()
				break
			}
		}
	}
}

// ours reports whether the notice is about a table of the name, or a chain, rule or set in it.
func (w *Watch) ours(m netlink.Message) bool {
	const header, tableName = 4, 1 // struct nfgenmsg; the table's name is attribute 1 of all of them
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff > unix.NFT_MSG_DELSET || len(m.Data) < header {
		return false
	}
	attrs, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return false
	}
	for attrs.Next() {
		if attrs.Type() == tableName {
			return attrs.String() == w.table
		}
	}
	return false
}
