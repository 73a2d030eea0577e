// Package state is what a node says of itself: the types behind `ftgw status` and `ftgw flows`, the
// web page and the metrics, all of which show the same. Everything in it is a copy that belongs to
// whoever has it. JSON keys are only added, never renamed (DESIGN §6).
package state

import "time"

// Status is one node at one moment. Counts that are not said to be of that moment are since the
// start of the process.
type Status struct {
	Node     string    `json:"node"`
	Version  string    `json:"version"`
	Config   string    `json:"config_digest,omitempty"` // as ftgw check prints it
	Address  string    `json:"address"`                 // the node's own
	Started  time.Time `json:"started"`
	At       time.Time `json:"at"` // of this status
	Peers    []Peer    `json:"peers"`
	Services []Service `json:"services"`
	// Warnings are what an operator should see to before anything else fails.
	Warnings []string `json:"warnings,omitempty"`
	// Drops counts packets, frames and records that were dropped, by reason. Every reason that can
	// come up is there, 0 included.
	Drops map[string]uint64 `json:"drops"`
	// Accepted counts packets that went on, by what was noteworthy; "ok": nothing.
	Accepted map[string]uint64 `json:"accepted,omitempty"`
	// ARP counts frames for the advertised addresses, by what became of them.
	ARP    map[string]uint64 `json:"arp,omitempty"`
	Queues []Queue           `json:"queues,omitempty"`
	// Rules is nil on a witness.
	Rules *Rules `json:"rules,omitempty"`
}

// Rules says whether somebody has meddled with what keeps this host silent.
type Rules struct {
	Restored uint64     `json:"restored"`          // how often something was put back since the start
	LastAt   *time.Time `json:"last_at,omitempty"` // nil: never
	Last     string     `json:"last,omitempty"`    // what had been removed or changed then
	// Problem is why something is not in force at this moment, with the remedy.
	Problem string `json:"problem,omitempty"`
}

// Peer is another node as this one sees it.
type Peer struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Witness bool   `json:"witness,omitempty"`
	State   string `json:"state"`  // one of PeerStates
	RTT     int64  `json:"rtt_us"` // of the last exchange of heartbeats, microseconds; 0: none yet
	// Session is the node's address in the session with it, its replication_address where that is
	// used; empty: there is no session.
	Session string `json:"session,omitempty"`
	// Problem is why the two cannot be a pair, with the remedy; empty: nothing is known to
	// be in the way.
	Problem  string `json:"problem,omitempty"`
	Sessions uint64 `json:"sessions"`         // that came up
	Dropped  uint64 `json:"messages_dropped"` // confirmations and notes given up, for the peer did not take them
}

// PeerStates are what Peer.State can be.
var PeerStates = []string{"alive", "suspect", "dead"}

// Service is one advertised address.
type Service struct {
	Name       string   `json:"name"`
	Advertised string   `json:"advertised"`
	Nodes      []string `json:"nodes"` // as configured: primary, backup, spares
	Role       string   `json:"role"`  // one of Roles
	Mode       string   `json:"mode"`  // duplex or simplex, for new flows
	Owner      string   `json:"owner"` // the node that answers for the address; empty: nobody known
	Epoch      uint64   `json:"epoch"`
	Peer       string   `json:"peer"`
	InSync     bool     `json:"in_sync"`
	Upstream   string   `json:"upstream"` // one of UpstreamStates, as this node finds its own web server
	// UpstreamWhy is the reason for that.
	UpstreamWhy string `json:"upstream_why,omitempty"`
	Why         string `json:"why,omitempty"` // the node's last decision, or what it waits for

	Flows       FlowCounts     `json:"flows"`
	Exchanges   ExchangeCounts `json:"exchanges"`
	Modes       ModeCounts     `json:"exchanges_by_mode"`
	IfDied      Forecast       `json:"if_peer_died_now"`
	Replication Replication    `json:"replication"`
	Web         WebServer      `json:"web_server"`
	Bodies      Bodies         `json:"bodies"`
	Lease       Lease          `json:"lease"`
	Fenced      uint64         `json:"fenced"` // times that this node was fenced
	// LastTakeover is the latest one by this node since its start, or nil.
	LastTakeover *Takeover `json:"last_takeover,omitempty"`
	// Takeovers are the latest of them, at most MaxTakeovers, the newest last; Claims is how many
	// there were.
	Takeovers []Takeover `json:"takeovers,omitempty"`
	Claims    uint64     `json:"claims"`
}

// MaxTakeovers bounds Service.Takeovers.
const MaxTakeovers = 16

var (
	// Roles are what Service.Role can be.
	Roles = []string{"primary", "backup", "sole", "fenced", "joining", "witness"}
	// UpstreamStates are what Service.Upstream can be.
	UpstreamStates = []string{"healthy", "unhealthy", "unknown"}
)

// FlowCounts are the connections of this moment.
type FlowCounts struct {
	Duplex  int `json:"duplex"`
	Simplex int `json:"simplex"`
	// Unprotected are those of the simplex ones that this host holds alone because of a route in
	// that mode.
	Unprotected int `json:"unprotected"`
	Relayed     int `json:"relayed"`   // the peer alone holds them, and their segments pass here
	HalfOpen    int `json:"half_open"` // the handshake is not over
	Closing     int `json:"closing"`   // the server, or a reset, has begun to end it
}

// ExchangeCounts are requests, by what became of them.
type ExchangeCounts struct {
	Delivered   uint64 `json:"delivered"`
	Replayed    uint64 `json:"replayed"`    // stored reply finished by the survivor
	Reexecuted  uint64 `json:"reexecuted"`  // executed by the survivor
	Moved       uint64 `json:"moved"`       // given to the peer because the web server here failed
	Unprotected uint64 `json:"unprotected"` // passed through without being stored
	Failed      uint64 `json:"failed"`
	Running     int    `json:"running"` // being executed here at this moment
}

// ModeCounts are replies, by how they were protected.
type ModeCounts struct {
	Logged      uint64 `json:"logged"`      // Instead included
	SyncStatic  uint64 `json:"sync_static"` // the peer had made the same
	Static      uint64 `json:"static"`      // went out before the peer had made the same
	Deferred    uint64 `json:"deferred"`    // the peer had but digests
	Unprotected uint64 `json:"unprotected"`
	Instead     uint64 `json:"static_logged"` // stored on a route in either mode: the peer's was another, late or missing
	Mirrored    uint64 `json:"mirrored"`      // made here as backup, the same as the peer's
	Differed    uint64 `json:"mirrored_not"`  // made here as backup and another, or not made
}

// Forecast is what the peer's death at this moment would mean, in established connections and,
// for Reexecute, in requests. All are 0 on a node that does not serve.
type Forecast struct {
	Survive   int `json:"survive"`   // go on here
	Lost      int `json:"lost"`      // end
	Reexecute int `json:"reexecute"` // begun, perhaps executed by the peer, and without a stored reply
}

// Replication is what goes to the peer so that it can finish a reply.
type Replication struct {
	Unstored      int    `json:"unstored_records"`    // sent or waiting, and not stored by the peer yet; of this moment
	UnstoredBytes int64  `json:"unstored_bytes"`      // of replies in them
	Lag           int64  `json:"lag_us"`              // how long the oldest of them has waited, microseconds
	Stored        uint64 `json:"stored_records"`      // by the peer
	StoredBytes   uint64 `json:"stored_bytes"`        // of replies in them
	StoreTime     uint64 `json:"store_time_us"`       // that all of those took together, microseconds
	Unstorable    uint64 `json:"refused_records"`     // of the peer's, that could not be stored here
	Strangers     uint64 `json:"unknown_connections"` // accepted by the kernel and of no known flow
}

// WebServer is the upstream as this node found it.
type WebServer struct {
	Checks       uint64 `json:"checks"`
	FailedChecks uint64 `json:"failed_checks"`
	Lent         int    `json:"lent"`    // connections in use at this moment
	Idle         int    `json:"idle"`    // kept for the next request, likewise
	Waiting      int    `json:"waiting"` // requests without a connection, likewise
	Connects     uint64 `json:"connects"`
	Failed       uint64 `json:"failed_connects"`
	Reused       uint64 `json:"reused"`  // times that an idle connection was lent
	Stale        uint64 `json:"stale"`   // idle ones that the web server had closed
	Expired      uint64 `json:"expired"` // idle ones closed for age
}

// Bodies are requests and replies that are held.
type Bodies struct {
	Memory   int64  `json:"memory_bytes"` // of buffers lent to them at this moment
	OnDisk   int64  `json:"on_disk"`      // kept in files at this moment, which have no name
	Spilled  uint64 `json:"spilled"`      // moved to a file
	Failures uint64 `json:"spill_failures"`
}

// Lease is the right to speak for the address, which lapses unless it is renewed.
type Lease struct {
	Held     bool   `json:"held"`
	Renewals uint64 `json:"renewals"`
	Failures uint64 `json:"failures"` // renewals that the kernel refused
}

// Queue is one NFQUEUE, as the kernel and its reader count.
type Queue struct {
	Number     uint16 `json:"number"`
	Direction  string `json:"direction"` // in: from the network; out: from the local kernel
	Packets    uint64 `json:"packets"`   // handed over
	Waiting    uint64 `json:"waiting"`   // without a verdict at this moment
	Full       uint64 `json:"full"`      // dropped by the kernel: too many waited
	SocketFull uint64 `json:"socket_full"`
}

// Takeover is the record of one claim.
type Takeover struct {
	Epoch  uint64         `json:"epoch"`
	Reason string         `json:"reason"`
	At     time.Time      `json:"at"`    // it was decided
	Steps  []TakeoverStep `json:"steps"` // in the order they were done (invariant I6)
}

// TakeoverStep is one step and when it was done.
type TakeoverStep struct {
	Name string  `json:"name"`
	AtMS float64 `json:"at_ms"` // milliseconds since the claim was decided
}

// Took returns how long the claim took to its last step, milliseconds; 0 before the first.
func (t *Takeover) Took() float64 {
	if t == nil || len(t.Steps) == 0 {
		return 0
	}
	return t.Steps[len(t.Steps)-1].AtMS
}
