package link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ftgw/ftgw/replication"
)

// A query is answered whatever the state of the session, on either side, and changes nothing.
func TestQuery(t *testing.T) {
	low, high := addrs(t)
	a, b := newHost(t, "a", low, high), newHost(t, "b", high, low)
	background(t, b.port.Run)
	background(t, b.Run)
	ask := func(from, to *host) {
		t.Helper()
		h, err := Ask(t.Context(), from.cfg.Self.Addr(), to.cfg.Self, keys(t, 1),
			replication.Hello{Node: from.cfg.Hello().Node, Group: "a,b"})
		if err != nil || h.Node != to.cfg.Hello().Node || h.Group != "a,b" || h.Channel != replication.Query || skew(h).Abs() > patience {
			t.Errorf("answer %+v, %v", h, err)
		}
	}
	stranger(t, low, high).Close() // it listens
	ask(a, b)
	control, _, _, err := a.call(t.Context(), a.Paths()[0], replication.Control, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer control.raw.Close()
	ask(a, b) // with half a session
	bulk, _, _, err := a.call(t.Context(), a.Paths()[0], replication.Bulk, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.raw.Close()
	b.untilUp(t, 1)
	a.start(t)
	a.untilUp(t, 1)
	b.untilUp(t, 2)
	for range 10 {
		ask(a, b)
		ask(b, a)
	}
	for _, h := range []*host{a, b} {
		s := h.Status()
		if !s.Up || s.Refusal != nil || h.port.Strangers() > 0 || len(a.downs) > 0 {
			t.Errorf("%s suffered: %+v", h.cfg.Hello().Node, s)
		}
	}
}

// Ask says in words what stands in the way, and the session does not suffer from being asked
// wrongly.
func TestAskRefused(t *testing.T) {
	a, b := connected(t)
	low, high := a.cfg.Self, b.cfg.Self
	free := netip.AddrPortFrom(high.Addr(), 1)
	garbage := listen(t, high.Addr(), func(c net.Conn) { io.WriteString(c, "220 mail.example ready\r\n") })
	silent := listen(t, high.Addr(), func(c net.Conn) { io.Copy(io.Discard, c) })
	next := listen(t, high.Addr(), func(c net.Conn) {
		s := tls.Server(c, replication.TLSConfig(keys(t, 1), true))
		replication.NewReader(s).Next()
		hello := replication.Hello{Channel: replication.Query}.Append(nil)
		hello[0]++
		s.Write(hello)
	})
	hello := replication.Hello{Node: "a", Group: "a,b"}
	for _, tt := range []struct {
		name   string
		from   netip.Addr
		to     netip.AddrPort
		secret byte
		change func(*replication.Hello)
		want   error
		says   string
	}{
		{"other secret", low.Addr(), high, 2, nil, replication.ErrSecret, "secret_file"},
		{"other config", low.Addr(), high, 1, func(h *replication.Hello) { h.ConfigDigest[0] = 1 }, ErrConfig, "ftgw.toml"},
		{"other group", low.Addr(), high, 1, func(h *replication.Hello) { h.Group = "a,b,c" }, ErrConfig, `"a,b,c"`},
		{"own name", low.Addr(), high, 1, func(h *replication.Hello) { h.Node = "b" }, ErrSelf, "--name"},
		{"stranger", netip.MustParseAddr("127.0.0.1"), high, 1, nil, nil, "may not know this node's address"},
		{"nobody", low.Addr(), free, 1, nil, nil, "does not run there"},
		{"foreign source", netip.MustParseAddr("192.0.2.9"), high, 1, nil, nil, "does not have the address"},
		{"not ftgw", low.Addr(), garbage, 1, nil, nil, "does not speak TLS"},
		{"stopped", low.Addr(), silent, 1, nil, nil, "says nothing"},
		{"other version", low.Addr(), next, 1, nil, replication.ErrVersion, "same ftgw release"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hello
			if tt.change != nil {
				tt.change(&h)
			}
			_, err := Ask(t.Context(), tt.from, tt.to, keys(t, tt.secret), h)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) ||
				!strings.Contains(err.Error(), tt.to.String()) {
				t.Errorf("says %v, want %q", err, tt.says)
			}
		})
	}
	if s := b.Status(); !s.Up || s.Sessions != 1 {
		t.Errorf("the session suffered: %+v", s)
	}
}

// listen serves connections one after the other until the test ends.
func listen(t *testing.T, at netip.Addr, serve func(net.Conn)) netip.AddrPort {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			serve(c)
			c.Close()
		}
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}
