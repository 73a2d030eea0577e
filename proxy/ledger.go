package proxy

import (
	"time"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rewrite"
)

// Outcome is what became of an exchange, as far as this host knows.
type Outcome uint8

// The outcomes. An exchange has one at a time: Unfinished becomes any of the later ones, Stored
// and Moved become Replayed, and Moved also what became of it if it came back.
const (
	Unfinished  Outcome = iota // this host executes it now
	Stored                     // the peer executed it, and its reply is kept here
	Delivered                  // executed here; the reply was written whole
	Replayed                   // the stored reply was finished here after a takeover
	Reexecuted                 // executed here after a takeover, though the lost host may have executed it
	Executed                   // executed here after a takeover, for the first time as far as is known
	Refused                    // answered by a status made here, for want of the upstream's reply
	Dropped                    // the client went away before its reply was written
	Silenced                   // this host was fenced or stopped, or could not store the reply
	Moved                      // the upstream here failed it, and the peer was given it
	Unprotected                // passed through whole, without being stored
	Truncated                  // the reply had begun and could not be finished; the connection was ended within it
)

// String returns the word of the ledger for it.
func (o Outcome) String() string {
	return [...]string{"unfinished", "stored", "delivered", "replayed", "re-executed", "executed",
		"refused", "dropped", "silenced", "moved", "unprotected", "truncated"}[o]
}

// Site is who had the upstream execute an exchange.
type Site uint8

// The sites.
const (
	Nobody Site = iota // it was answered without the upstream
	Here               // this host
	Peer               // the host that sent the reply
)

// Exchange is one exchange of the ledger. Its identity is the flow and the index.
type Exchange struct {
	Flow  rewrite.FlowID
	Index uint64 // within its flow, from 0
	// Transaction is what the upstream was told as Idempotency-Key, unless the client sent one of
	// its own: then that is ClientKey, cut to 64 bytes. A host that only stores a reply does not
	// look for one.
	Transaction, ClientKey string
	// Method and Path are cut to 16 and 96 bytes, Path also before a query. They are empty where
	// the request was malformed, or had not been read yet when its reply was stored.
	Method, Path string
	Status       int   // of the reply; 0: there is none
	Bytes        int64 // of the reply, head included
	Attempt      int   // that the upstream was told: 1, or more if another may have executed it; 0: not asked here
	Executed     Site
	Mode         config.Mode // how the reply was protected; sync-static also: made by both hosts
	Outcome      Outcome
	Epoch        uint64        // of the takeover that touched it; 0: none did
	Began        time.Time     // the request was here whole, or the reply stored
	Took         time.Duration // from Began to the reply's last write; to now for Unfinished, 0 for Stored
}

// Book is an extract of the ledger.
type Book struct {
	Epoch     uint64    // of the latest takeover since the start; 0: there was none
	At        time.Time // of the same
	Forgotten uint64    // exchanges that it touched and that found no room
	Exchanges []Exchange
}
