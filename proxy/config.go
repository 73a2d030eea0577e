package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/ftgw/ftgw/accesslog"
	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// Config holds the settings of one service's proxy. Zero values stand for the defaults.
type Config struct {
	Upstream string // the local web server's name in the log
	// Connect lends a connection to it: fresh asks for a new one. A preface is sent first, and the
	// connection is then not pooled. It may wait until ctx ends. Needed by an executor.
	Connect func(ctx context.Context, fresh bool, preface []byte) (UpstreamConn, error)

	Memory   int64  // bytes of one body, or of one held suffix, kept in memory; default 1 MiB
	Buffers  int64  // bytes of all of them kept in memory, beyond which each keeps 16 KiB; default 256 MiB
	SpillDir string // where longer ones go, as files without a name; default os.TempDir()
	Ledger   int    // exchanges that the ledger keeps; default 4096

	MaxLine   int // bytes of a request line, else 414; default 16 KiB
	MaxHeader int // bytes of a request's head, and of its trailers and chunk extensions, else 431; default 64 KiB
	MaxFields int // fields of a request's head, and of its trailers, else 431; default 128
	// MaxReply is how many bytes of a reply's body are stored before its first byte goes out; what is
	// longer goes out in parts, each once it is stored. Default 64 MiB.
	MaxReply int64

	MaxBody int64 // bytes of a request's body, else 413; default 1 GiB, negative for any number

	// Via is the name of this gateway in the field Via of requests and replies (RFC 9110 §7.6.3),
	// a token; default (and for what is none) "ftgw", "-" for no such field. nginx compresses nothing for requests
	// that have one unless told to (gzip_proxied).
	Via string
	// Forwarding says how the upstream learns of the client.
	Forwarding Forwarding
	// ProxyProtocol sends a header of the PROXY protocol, version 2, on each connection to the
	// upstream. Such a connection belongs to one client connection.
	ProxyProtocol bool

	HeaderTimeout time.Duration // from a request's first byte to the end of its head; default 20 s
	BodyTimeout   time.Duration // longest silence within a request's body; default 60 s
	BodyRate      int64         // bytes per second of a body after its first BodyTimeout, else 408; default 500, negative for any
	WriteTimeout  time.Duration // longest time that a client takes nothing of its reply; default 60 s
	IdleTimeout   time.Duration // between requests; default 75 s
	DrainTimeout  time.Duration // longest silence while a closed connection is drained; default 10 s

	// TurnOver reports whether a connection should end at the next exchange boundary so that
	// the client's next one is held by both hosts: the flow is simplex and the peer is in sync.
	// It is asked once for each request, and while a connection idles. Default: never.
	TurnOver     func(rewrite.FlowID) bool
	TurnOverIdle time.Duration // idle time after which such a connection is closed; default 5 s

	// Permit is asked before each request goes to the upstream. It may wait, as a host does that
	// stood still and has not found out yet whether another serves in its place; an error ends
	// the connection in silence. Default: always nil.
	Permit func(context.Context) error

	// MayMove is asked when the upstream failed an exchange: whether the peer may execute it
	// instead, because both hosts hold the flow and the peer's upstream is well as far as is
	// known. Default: never. It must not block.
	MayMove func(rewrite.FlowID) bool
	// MayDefer is asked before a reply in mode config.Deferred begins: whether this host speaks for the
	// flow, and goes on to. Else the reply is stored. Default: always. It must not block.
	MayDefer func(rewrite.FlowID) bool
	// UpstreamFailed is told of each exchange that the upstream failed. It must not block.
	// Default: nobody is told.
	UpstreamFailed func(error)

	// Mode is how the reply to a request is protected, by its method and path, which is as the client
	// wrote it. What is none of config.Unprotected, config.SyncStatic, config.Static and config.Deferred is logged. Default: all are.
	Mode func(method, path string) config.Mode

	// Routes names the routes, for the log. Default: there is none.
	Routes []string
	// Route numbers the route of a request, as in Routes; -1, or what is no number of one: it has none. It is
	// not asked where there is none.
	Route func(method, path string) int
	// Demoted is told that a route of mode config.Static or config.Deferred is logged from now on, because of
	// what was found here. It must not block. Default: nobody is told.
	Demoted func(route int)
	// Shadow says that some requests are in mode config.SyncStatic or config.Static: as standby this host reads them,
	// too, and has its own upstream execute those. Without it their replies are stored.
	Shadow bool
	// MayOutrun is asked when a reply in mode config.Static is about to go out: whether the peer surely has
	// not claimed yet. If not, the reply waits for the peer's answer. Default: always true. It must not block.
	MayOutrun func() bool
	// Agreed is asked whether the peer is known to have the same settings, as it had when it last spoke. While it
	// has not, replies in mode config.SyncStatic and config.Static are stored. Default: always.
	Agreed func() bool
	// AgreeWithin is how long a reply in mode config.SyncStatic waits for the peer's before it is stored instead;
	// default 250 ms.
	AgreeWithin time.Duration

	// Access is told of each exchange that ended, see access.go; the entry is the proxy's again
	// afterwards. It must neither block nor call back into the Server. Default: nobody is told.
	Access func(*accesslog.Entry)

	// Epoch is asked by Promote for the number of the takeover, for the ledger. Default: always 0.
	Epoch func() uint64

	Log *slog.Logger // of what clients and the upstream cause; default: nothing is logged
}

func (c Config) withDefaults() Config {
	c.Memory = cmp.Or(c.Memory, 1<<20)
	c.Buffers = cmp.Or(c.Buffers, 256<<20)
	c.SpillDir = cmp.Or(c.SpillDir, os.TempDir())
	c.MaxHeader = cmp.Or(c.MaxHeader, 64<<10)
	c.Ledger = cmp.Or(c.Ledger, 4096)
	c.MaxLine = cmp.Or(c.MaxLine, 16<<10)
	c.MaxFields = cmp.Or(c.MaxFields, 128)
	c.MaxBody = cmp.Or(c.MaxBody, 1<<30)
	c.MaxReply = cmp.Or(c.MaxReply, 64<<20)
	if c.Via = cmp.Or(c.Via, "ftgw"); !isToken(c.Via) {
		c.Via = "ftgw" // it would break the head
	}
	c.Forwarding = c.Forwarding.withDefaults()
	c.BodyRate = cmp.Or(c.BodyRate, 500)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 20*time.Second)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, time.Minute)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 75*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 10*time.Second)
	c.TurnOverIdle = cmp.Or(c.TurnOverIdle, 5*time.Second)
	c.AgreeWithin = cmp.Or(c.AgreeWithin, 250*time.Millisecond)
	if c.TurnOver == nil {
		c.TurnOver = func(rewrite.FlowID) bool { return false }
	}
	if c.Connect == nil {
		c.Connect = noConnect
	}
	if c.Permit == nil {
		c.Permit = func(context.Context) error { return nil }
	}
	if c.MayMove == nil {
		c.MayMove = func(rewrite.FlowID) bool { return false }
	}
	if c.MayDefer == nil {
		c.MayDefer = func(rewrite.FlowID) bool { return true }
	}
	if c.UpstreamFailed == nil {
		c.UpstreamFailed = func(error) {}
	}
	if c.Mode == nil {
		c.Mode = func(string, string) config.Mode { return config.Logged }
	}
	if c.MayOutrun == nil {
		c.MayOutrun = func() bool { return true }
	}
	if c.Demoted == nil {
		c.Demoted = func(int) {}
	}
	if c.Agreed == nil {
		c.Agreed = func() bool { return true }
	}
	if c.Epoch == nil {
		c.Epoch = func() uint64 { return 0 }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
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
// goroutines and must not call back into the Server nor, but for Unprotect, block for long.
type Flows interface {
	// Accepted names the flow behind an accepted connection and this host's duty in it.
	// Without ok the connection is closed at once and in silence.
	Accepted(client, local netip.AddrPort) (id rewrite.FlowID, duty Duty, ok bool)
	// Duty names this host's duty in a flow that was Accepted anew: the voice may have moved.
	Duty(id rewrite.FlowID) Duty
	// Survived reports whether the flow outlived a host that may have executed for it.
	Survived(id rewrite.FlowID) bool
	// Received tells that the proxy has read n bytes of the client's stream in all, and
	// whether it has read its end (it confirms input, I2).
	Received(id rewrite.FlowID, n uint64, eof bool)
	// Unprotect makes the flow this host's alone and returns when the peer has agreed, so that
	// replies need not be stored any more. It fails where the peer speaks for the flow, or does not
	// answer in time.
	Unprotect(ctx context.Context, id rewrite.FlowID) error
	// Reset ends the connection for the client, wherever that is in the stream: beyond what this host's
	// kernel has sent neither the end nor the reset of that kernel would be heeded.
	Reset(id rewrite.FlowID)
	// Closed tells that the proxy holds no socket of the flow any more; called once for each
	// Accepted that was ok.
	Closed(id rewrite.FlowID)
}

// ErrPeerLost says that the peer died while it was given a flow.
var ErrPeerLost = errors.New("the peer is lost")

// Log stores records on the backup.
type Log interface {
	// Store returns nil when the backup has the whole record, or when the flow is simplex and
	// need not have it. Any error means that the flow must die silently: this host is fenced. But
	// of a record that gives the flow to the peer (see RecordKind.Gives) nil means that the peer
	// has it, and any error that it stays here; ErrPeerLost then says that the peer died on the way.
	// Of a likeness (replication.KindSame) ErrUnlike and ErrDiffers mean that the reply is to be stored instead, and
	// so does the end of ctx.
	// body holds r.Size bytes and may be read until Store returns. r.Epoch is for the Log to set.
	Store(ctx context.Context, r Record, body io.ReaderAt) error
}
