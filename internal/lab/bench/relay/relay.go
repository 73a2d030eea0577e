// Package relay is the "null proxies" of paper 000 §4: the way that a packet and a request take
// through ftgw, without what ftgw does on it. Packets to and from the address pass two kernel queues
// and are accepted unread; ftgw's own HTTP proxy asks the web server, and stores nothing anywhere.
package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/nfq"
	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/upstream"
)

const firstQueue = 26100 // the second is for what leaves

// Options of Run.
type Options struct {
	Listen   string // IPv4 address, which this host has, and port
	Upstream string // as in ftgw's config file
}

// Run serves until ctx ends. It needs CAP_NET_ADMIN in its network namespace.
func Run(ctx context.Context, o Options) error {
	at, err := netip.ParseAddrPort(o.Listen)
	if err != nil || !at.Addr().Is4() {
		return fmt.Errorf("relay: %q is no IPv4 address and port", o.Listen)
	}
	web, err := upstream.ParseAddress(o.Upstream)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	var queues []nfq.Queue
	for i := range 2 {
		q, err := nfq.Open(nfq.Config{Number: firstQueue + uint16(i), GSO: i == 1})
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		defer q.Close()
		queues = append(queues, q)
	}
	if err := enqueue(at); err != nil {
		return fmt.Errorf("relay: install rules: %w", err)
	}
	l, err := proxy.Listen(ctx, at)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	pool, host := upstream.NewPool(upstream.PoolConfig{Address: web}), new(alone)
	s := proxy.New(proxy.Config{Upstream: o.Upstream, Connect: func(ctx context.Context, fresh bool, preface []byte) (proxy.UpstreamConn, error) {
		if fresh {
			return pool.Fresh(ctx, preface)
		}
		return pool.Get(ctx)
	}}, host, host)
	all, ctx := errgroup.WithContext(ctx)
	for _, q := range queues {
		all.Go(func() error { return q.Run(ctx, acceptAll) })
	}
	all.Go(func() error { return pool.Run(ctx) })
	all.Go(func() error { return s.Serve(ctx, l) })
	return all.Wait()
}

func acceptAll(packets []nfq.Packet, verdict func(int, nfq.Verdict)) {
	for i := range packets {
		verdict(i, nfq.Verdict{Accept: true})
	}
}

// alone is the packet layer and the log of a host that has none: this host executes everything.
type alone struct{ flows atomic.Uint32 }

// Accepted names each flow anew, by a number in place of the client's ISN.
func (a *alone) Accepted(client, local netip.AddrPort) (rewrite.FlowID, proxy.Duty, bool) {
	return rewrite.FlowID{Key: rewrite.Key{Client: client, Advertised: local}, ISN: rewrite.Seq(a.flows.Add(1))}, proxy.Executor, true
}
func (*alone) Duty(rewrite.FlowID) proxy.Duty                         { return proxy.Executor }
func (*alone) Survived(rewrite.FlowID) bool                           { return false }
func (*alone) Received(rewrite.FlowID, uint64, bool)                  {}
func (*alone) Unprotect(context.Context, rewrite.FlowID) error        { return nil }
func (*alone) Reset(rewrite.FlowID)                                   {}
func (*alone) Closed(rewrite.FlowID)                                  {}
func (*alone) Store(context.Context, proxy.Record, io.ReaderAt) error { return nil }

// enqueue hands every packet of the address to the queues, in the hooks and at the priority that
// ftgw's own rules use.
func enqueue(at netip.AddrPort) error {
	kernel, err := rules.Probe()
	if err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Name: "ftgw_relay", Family: nftables.TableFamilyIPv4})
	ip, port := at.Addr().AsSlice(), binary.BigEndian.AppendUint16(nil, at.Port())
	for i, hook := range []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookOutput} {
		chain := c.AddChain(&nftables.Chain{Name: []string{"in", "out"}[i], Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRaw})
		ipOffset, portOffset := uint32(16), uint32(2) // destination
		if i == 1 {
			ipOffset, portOffset = 12, 0 // source
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ipOffset, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: port},
			&expr.Notrack{},
			queueTo(firstQueue+uint16(i), kernel.Queue),
		}})
	}
	return c.Flush()
}

// queueTo is nftables' queue expression, or the xt target where the kernel has only that.
func queueTo(number uint16, native bool) expr.Any {
	if native {
		return &expr.Queue{Num: number, Total: 1}
	}
	info := xt.Unknown(binary.NativeEndian.AppendUint16(nil, number)) // struct xt_NFQ_info_v3
	info = append(binary.NativeEndian.AppendUint16(info, 1), 0, 0, 0, 0)
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}
