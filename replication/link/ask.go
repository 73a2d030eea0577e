package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/replication"
)

// Ask connects to peer's session port, from self if that is valid, exchanges hellos and closes;
// no session is disturbed. hello is what the node would say, Group, Node and ConfigDigest above
// all; Boot must be no running process' and may be zero. A witness answers too. The error is in
// words for an operator: why the two would not be a pair, or why there was no answer. The hello
// that came is returned beside an error that it caused.
func Ask(ctx context.Context, self netip.Addr, peer netip.AddrPort, keys replication.Keys, hello replication.Hello) (replication.Hello, error) {
	d := dialer(self)
	d.Timeout = helloTimeout
	nc, err := d.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return replication.Hello{}, fmt.Errorf("ask %v: %w", peer, unreached(err))
	}
	defer nc.Close()
	hello.Channel, hello.Wall = replication.Query, time.Now().UnixMilli()
	_, ours, theirs, err := exchange(ctx, nc, keys, func() replication.Hello { return hello })
	if err == nil {
		err = check(ours, theirs)
	} else if refusal(err) == nil {
		err = unanswered(err)
	} else {
		err = refusal(err)
	}
	if err != nil {
		return theirs, fmt.Errorf("ask %v: %w", peer, err)
	}
	return theirs, nil
}

// Refuses reports whether Ask's error means that the two are configured or installed so that
// they would never be a pair, as opposed to a node that is not there.
func Refuses(err error) bool { return err != nil && refusal(err) != nil }

// unreached explains a connection that did not come about.
func unreached(err error) error {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("ftgw does not run there, or with another session_port: %w", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("this host does not have the address of its [[node]] table: %w", err)
	}
	return fmt.Errorf("no connection: is the host up, and does a firewall stand between? %w", err)
}

// unanswered explains a connection that ended without a hello.
func unanswered(err error) error {
	var slow net.Error
	switch {
	case wasReset(err):
		return fmt.Errorf("it hangs up: its config may not know this node's address; compare ftgw.toml on both nodes: %w", err)
	case errors.As(err, &slow) && slow.Timeout():
		return fmt.Errorf("it takes the connection and says nothing: is it ftgw that listens there, and not stopped? %w", err)
	}
	return err
}
