// How many connections the limit of open files lets this node hold.
package main

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// filesReserved are the open files that a node needs for itself: sessions, queues, netlink,
// gossip, operators, and files that bodies spill to.
const filesReserved = 256

// maxUpstream bounds the connections to web servers, all services together.
const maxUpstream = 4096

// connectionLimits returns how many flows this process can hold of those that are wanted, and
// how many connections to web servers. Without a file to spare the daemon could neither accept
// nor ask its peer, so clients are turned away before.
func connectionLimits(want int, log *slog.Logger) (flows, upstream int, err error) {
	var files unix.Rlimit // Go has raised the soft limit to the hard one
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	flows, upstream, err = share(files.Cur)
	if err != nil || flows >= want {
		return want, upstream, err
	}
	log.Warn("the limit of open files allows fewer connections than max_flows (raise LimitNOFILE of the systemd unit, or ulimit -n)",
		"files", files.Cur, "connections", flows, "max_flows", want)
	return flows, upstream, nil
}

// share divides so many open files. Most clients idle, and what executes on a host at a time is
// bounded by its web server, so that few need a second one.
func share(files uint64) (flows, upstream int, err error) {
	if files < 2*filesReserved {
		return 0, 0, fmt.Errorf("this process may open %d files, it needs %d at least (raise LimitNOFILE of the systemd unit, or ulimit -n)", files, 2*filesReserved)
	}
	left := min(files-filesReserved, 1<<31)
	upstream = int(min(left/3, maxUpstream))
	return int(left) - upstream, upstream, nil
}
