package drill

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/rewrite"
)

const (
	narrowMTU = 1200
	usualMTU  = 1500
)

// flood begins to send SYNs, for half a second, and waits until many have come.
func flood(l *load) error {
	const total, burst, rate = 5_000, 100, 10_000
	first := l.r.Number % 12 * total // others than in the rounds before, which may still be half-open
	l.r.Remark(fmt.Sprintf("%d SYNs begin to come", total))
	begin := time.Now()
	l.wg.Go(func() {
		for n := 0; n < total; n += burst {
			err := l.r.synBurst(first+n, burst)
			if err == nil {
				err = Sleep(l.ctx, time.Until(begin.Add(time.Duration(n)*time.Second/rate)))
			}
			if err != nil {
				l.r.Report.Add(noConnection("flood", err))
				return
			}
		}
	})
	return Sleep(l.ctx, 300*time.Millisecond)
}

// synBurst sends the SYNs of count connections from the client's side, each from an address of
// its own that answers nothing.
func (r *Round) synBurst(first, count int) error {
	return r.Lab.Client.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{Addr: advertised.Addr().As4()}
		for k := first; k < first+count; k++ {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(k)}), uint16(1024+k))
			p := rewrite.AppendSegment(nil, rewrite.Header{Src: from, Dst: advertised, Seq: rewrite.Seq(k * 7919),
				Flags: rewrite.SYN, Window: 500, MSS: 1460, WScale: 7, SACKPermitted: true, HasTS: true, TSVal: 1}, nil)
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return fmt.Errorf("send a SYN: %w", err)
			}
		}
		return nil
	})
}

// shrink narrows the client's cable and lets the hosts hear of it.
func shrink(l *load) error {
	l.r.Remark(fmt.Sprintf("the client's cable takes %d bytes from now on", narrowMTU))
	if err := l.r.Lab.Client.SetMTU(narrowMTU); err != nil {
		return err
	}
	return Sleep(l.ctx, 100*time.Millisecond)
}

// wide undoes shrink, and shows that the router did say so.
func wide(_ context.Context, r *Round) error {
	if err := r.Lab.Client.SetMTU(usualMTU); err != nil {
		return err
	}
	var errors int
	err := r.Router.Do(func() (err error) {
		errors, err = unreachables()
		return err
	})
	r.Remark(fmt.Sprintf("the router has sent %d ICMP errors", errors))
	if err == nil && errors == 0 {
		err = fmt.Errorf("%w: nothing was too long", ErrMissed)
	}
	return err
}

// unreachables returns how many ICMP errors of type 3 the calling thread's namespace has sent
// (RFC 792, RFC 1191).
func unreachables() (n int, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "IcmpMsg:" {
			continue
		}
		if at := slices.Index(names, "OutType3"); at > 0 && at < len(fields) {
			return strconv.Atoi(fields[at])
		}
		names = fields
	}
	return 0, nil
}
