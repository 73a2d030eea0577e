package rules

import (
	"context"
	"testing"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A change by anybody is heard at once.
func TestWatch(t *testing.T) {
	s := newSite(t, testSpec(), nil)
	var w *Watch
	s.do(t, s.host, func() (err error) {
		w, err = OpenWatch(s.spec)
		return err
	})
	heard, done := make(chan struct{}, 1000), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { done <- w.Run(ctx, func() { heard <- struct{}{} }) }()
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"flush ruleset", func() error { s.flushRuleset(t); return nil }},
		{"restored", func() error { _, err := s.bundle.Restore(); return err }},
		{"routing rule", deletePriority(fenceUnmarked)},
		{"address", func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.AddrDel(lo, &netlink.Addr{IPNet: netlink.NewIPNet(s.v().AsSlice())})
		}},
	} {
		for len(heard) > 0 {
			<-heard
		}
		s.do(t, s.host, change.do)
		eventually(t, "a notice of: "+change.name, func() bool { return len(heard) > 0 })
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// notice is a message of nf_tables about something in a table.
func notice(kind uint16, table string) mdl.Message {
	attrs, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: 1, Data: append([]byte(table), 0)}})
	if err != nil {
		panic(err)
	}
	return mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind)},
		Data: append([]byte{unix.NFPROTO_INET, 0, 0, 0}, attrs...)}
}

// Leases come and go many times a second, and other tables are other people's.
func TestWatchIgnores(t *testing.T) {
	w := &Watch{table: "ftgw"}
	cut := notice(unix.NFT_MSG_DELRULE, "ftgw")
	cut.Data = cut.Data[:6]
	other := notice(unix.NFT_MSG_DELRULE, "ftgw")
	other.Header.Type = unix.NFNL_SUBSYS_CTNETLINK<<8 | unix.NFT_MSG_DELRULE
	for _, tt := range []struct {
		name string
		m    mdl.Message
		want bool
	}{
		{"rule deleted", notice(unix.NFT_MSG_DELRULE, "ftgw"), true},
		{"table deleted", notice(unix.NFT_MSG_DELTABLE, "ftgw"), true},
		{"set deleted", notice(unix.NFT_MSG_DELSET, "ftgw"), true},
		{"lease renewed", notice(unix.NFT_MSG_NEWSETELEM, "ftgw"), false},
		{"transaction ended", notice(unix.NFT_MSG_NEWGEN, "ftgw"), false},
		{"another table", notice(unix.NFT_MSG_DELRULE, "filter"), false},
		{"cut", cut, false},
		{"empty", mdl.Message{Header: cut.Header}, false},
		{"connection tracking", other, false},
	} {
		if got := w.ours(tt.m); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// FuzzWatch: no notice of the kernel's ends the watch.
func FuzzWatch(f *testing.F) {
	f.Add(uint16(unix.NFT_MSG_DELRULE), notice(unix.NFT_MSG_DELRULE, "ftgw").Data)
	f.Add(uint16(unix.NFT_MSG_DELTABLE), []byte{1, 0, 0, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		w := &Watch{table: "ftgw"}
		w.ours(mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind&0xff)}, Data: data})
	})
}
