package proxy

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/ftgw/ftgw/rewrite"
)

// Config holds the settings of one service's proxy. Zero values stand for the defaults.
type Config struct {
	Upstream string // host:port of the local web server
	Memory   int64  // bytes of one body, or of one held suffix, kept in memory; default 1 MiB
	SpillDir string // where longer ones go, as files without a name; default os.TempDir()
	Ledger   int    // exchanges that the ledger keeps; default 4096

	MaxLine   int   // bytes of a request line, else 414; default 16 KiB
	MaxHeader int   // bytes of a request's head, and of its trailers and chunk extensions, else 431; default 64 KiB
	MaxFields int   // fields of a request's head, and of its trailers, else 431; default 128
	MaxBody   int64 // bytes of a request's body, else 413; default 1 GiB, negative for any number

	// Via is the name of this gateway in the field Via of requests and replies (RFC 9110 §7.6.3),
	// a token; default (and for what is none) "ftgw", "-" for no such field. nginx compresses nothing for requests
	// that have one unless told to (gzip_proxied).
	Via string
	// Forwarding says how the upstream learns of the client.
	Forwarding Forwarding
	// ProxyProtocol sends a header of the PROXY protocol, version 2, on each connection to the
	// upstream. Such a connection belongs to one client connection.
	ProxyProtocol bool

	HeaderTimeout   time.Duration // from a request's first byte to the end of its head; default 20 s
	BodyTimeout     time.Duration // longest silence within a request's body; default 60 s
	BodyRate        int64         // bytes per second of a body after its first BodyTimeout, else 408; default 500, negative for any
	ConnectTimeout  time.Duration // to reach the upstream; default 2 s
	ResponseTimeout time.Duration // longest silence of the upstream; default 60 s, negative for none
	IdleTimeout     time.Duration // between requests; default 75 s
	DrainTimeout    time.Duration // longest silence while a closed connection is drained; default 10 s

	// TurnOver reports whether a connection should end at the next exchange boundary so that
	// the client's next one is held by both hosts: the flow is simplex and the peer is in sync.
	// It is asked once for each request, and while a connection idles. Default: never.
	TurnOver     func(rewrite.FlowID) bool
	TurnOverIdle time.Duration // idle time after which such a connection is closed; default 5 s

	// Permit is asked before each request goes to the upstream. It may wait, as a host does that
	// stood still and has not found out yet whether another serves in its place; an error ends
	// the connection in silence. Default: always nil.
	Permit func(context.Context) error

	// Epoch is asked by Promote for the number of the takeover, for the ledger. Default: always 0.
	Epoch func() uint64

	Node string       // this node's name, for the log
	Log  *slog.Logger // default: nothing is logged
}

func (c Config) withDefaults() Config {
	c.Memory = cmp.Or(c.Memory, 1<<20)
	c.SpillDir = cmp.Or(c.SpillDir, os.TempDir())
	c.MaxHeader = cmp.Or(c.MaxHeader, 64<<10)
	c.Ledger = cmp.Or(c.Ledger, 4096)
	c.MaxLine = cmp.Or(c.MaxLine, 16<<10)
	c.MaxFields = cmp.Or(c.MaxFields, 128)
	c.MaxBody = cmp.Or(c.MaxBody, 1<<30)
	if c.Via = cmp.Or(c.Via, "ftgw"); !isToken(c.Via) {
		c.Via = "ftgw" // it would break the head
	}
	c.Forwarding = c.Forwarding.withDefaults()
	c.BodyRate = cmp.Or(c.BodyRate, 500)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 20*time.Second)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, time.Minute)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 2*time.Second)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, time.Minute)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 75*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	c.TurnOverIdle = cmp.Or(c.TurnOverIdle, 5*time.Second)
	if c.TurnOver == nil {
		c.TurnOver = func(rewrite.FlowID) bool { return false }
	}
	if c.Permit == nil {
		c.Permit = func(context.Context) error { return nil }
	}
	if c.Epoch == nil {
		c.Epoch = func() uint64 { return 0 }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Node != "" {
		c.Log = c.Log.With("node", c.Node)
	}
	return c
}

// Duty is what this host does for a connection that it accepted.
type Duty uint8

const (
	Executor Duty = iota + 1 // answer the requests
	Standby                  // hold the requests and write stored replies
)

// Flows is what the proxy asks of the packet layer. Its methods are called from many
// goroutines and must neither block for long nor call back into the Server.
type Flows interface {
	// Accepted names the flow behind an accepted connection and this host's duty in it.
	// Without ok the connection is closed at once and in silence.
	Accepted(client, local netip.AddrPort) (id rewrite.FlowID, duty Duty, ok bool)
	// Duty names this host's duty in a flow that was Accepted anew: the voice may have moved.
	Duty(id rewrite.FlowID) Duty
	// Received tells that the proxy has read n bytes of the client's stream in all, and
	// whether it has read its end (it confirms input, I2).
	Received(id rewrite.FlowID, n uint64, eof bool)
	// Closed tells that the proxy holds no socket of the flow any more; called once for each
	// Accepted that was ok.
	Closed(id rewrite.FlowID)
}

// Log stores records on the backup.
type Log interface {
	// Store returns nil when the backup has the whole record, or when the flow is simplex and
	// need not have it. Any error means that the flow must die silently: this host is fenced.
	// body holds r.Size bytes and may be read until Store returns. r.Epoch is for the Log to set.
	Store(ctx context.Context, r Record, body io.ReaderAt) error
}
