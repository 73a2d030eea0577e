package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ftgw/ftgw/proxy"
	"github.com/ftgw/ftgw/rewrite"
	"github.com/ftgw/ftgw/state"
)

func infoOf(port uint16, i rewrite.Info) rewrite.Info {
	i.ID = rewrite.FlowID{Key: rewrite.Key{Client: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.2"), port)}, ISN: rewrite.Seq(port)}
	return i
}

func TestFlowsOf(t *testing.T) {
	infos := []rewrite.Info{
		infoOf(1, rewrite.Info{Mode: rewrite.Duplex, Open: true, Age: time.Second}),
		infoOf(2, rewrite.Info{Mode: rewrite.Duplex, Open: true, Age: 90 * time.Minute, Idle: 61 * time.Second}),
		infoOf(3, rewrite.Info{Mode: rewrite.Simplex, Lone: rewrite.PeerLost, Speaker: true, Open: true, Closing: true, Age: time.Minute}),
		infoOf(4, rewrite.Info{Mode: rewrite.Simplex, Lone: rewrite.OnRequest, Speaker: true, Open: true, Age: time.Hour}),
		infoOf(5, rewrite.Info{Mode: rewrite.Relay, Lone: rewrite.PeerHolds, Age: time.Millisecond}),
	}
	held := map[rewrite.FlowID]proxy.Holding{infos[1].ID: {Duty: proxy.Standby, Request: 120, Reply: 9000}, infos[2].ID: {Duty: proxy.Executor}}
	l := state.Flows{Node: "web-a", Services: []state.ServiceFlows{flowsOf("shop", infos, held, 4), flowsOf("blog", nil, nil, 4)}}
	var out bytes.Buffer
	if err := writeFlows(&out, l); err != nil {
		t.Fatal(err)
	}
	want := `shop on web-a, 5 connections, 3 not protected: peer-holds 1, peer-lost 1, unprotected-route 1

CLIENT          MODE         WHY                STATE    PART      AGE      IDLE  UNANSWERED  STORED
198.51.100.2:4  unprotected  unprotected-route  open     -         1h0m0s   0s    0           0
198.51.100.2:3  simplex      peer-lost          closing  executor  1m0s     0s    0           0
198.51.100.2:5  relayed      peer-holds         opening  -         0s       0s    0           0
198.51.100.2:2  duplex       -                  open     standby   1h30m0s  1m1s  120         9000
and 1 more (--limit 0 shows all)

blog on web-a, 0 connections, all protected
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
