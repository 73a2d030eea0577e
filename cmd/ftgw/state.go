package main

import "time"

// Status is what a node says of itself, as `ftgw status --json` prints it (DESIGN §6).
type Status struct {
	Node     string          `json:"node"`
	Version  string          `json:"version"`
	Config   string          `json:"config_digest,omitempty"` // as ftgw check prints it
	Peers    []PeerStatus    `json:"peers"`
	Services []ServiceStatus `json:"services"`
	// Warnings are what an operator should see to before anything else fails.
	Warnings []string `json:"warnings,omitempty"`
	// Rules is nil on a witness.
	Rules *RulesStatus `json:"rules,omitempty"`
	// Drops counts packets and records that were dropped since the start, by reason.
	Drops map[string]uint64 `json:"drops"`
}

// RulesStatus says whether somebody has meddled with what keeps this host silent.
type RulesStatus struct {
	Restored uint64     `json:"restored"`          // how often something was put back since the start
	LastAt   *time.Time `json:"last_at,omitempty"` // nil: never
	Last     string     `json:"last,omitempty"`    // what had been removed or changed then
	// Problem is why something is not in force at this moment, with the remedy.
	Problem string `json:"problem,omitempty"`
}

// PeerStatus is another node as this one sees it.
type PeerStatus struct {
	Name  string `json:"name"`
	State string `json:"state"`  // alive, suspect, dead or left
	RTT   int64  `json:"rtt_us"` // of the last exchange of heartbeats, microseconds; 0: none yet
	// Session is the node's address in the session with it, its replication_address where that is
	// used; empty: there is no session.
	Session string `json:"session,omitempty"`
	// Problem is why the two cannot be a pair, with the remedy; empty: nothing is known to
	// be in the way.
	Problem string `json:"problem,omitempty"`
}

// ServiceStatus is one advertised address.
type ServiceStatus struct {
	Name       string `json:"name"`
	Advertised string `json:"advertised"`
	Role       string `json:"role"`  // primary, backup, sole, fenced, joining or witness
	Mode       string `json:"mode"`  // duplex or simplex, for new flows
	Owner      string `json:"owner"` // the node that answers for the address; empty: nobody known
	Epoch      uint64 `json:"epoch"`
	Peer       string `json:"peer"`
	InSync     bool   `json:"in_sync"`
	Upstream   string `json:"upstream"` // healthy, unhealthy or unknown, as this node finds its own web server
	// UpstreamWhy is the reason for that.
	UpstreamWhy string `json:"upstream_why,omitempty"`
	Why         string `json:"why,omitempty"` // the node's last decision, or what it waits for

	Flows     FlowCounts     `json:"flows"`
	Exchanges ExchangeCounts `json:"exchanges"`
	Modes     ModeCounts     `json:"exchanges_by_mode"`
	IfDied    Forecast       `json:"if_peer_died_now"`
	// LastTakeover is the latest one by this node since its start, or nil.
	LastTakeover *Takeover `json:"last_takeover,omitempty"`
}

// FlowCounts are the connections of this moment.
type FlowCounts struct {
	Duplex  int `json:"duplex"`
	Simplex int `json:"simplex"`
	// Unprotected are those of the simplex ones that this host holds alone because of a route in
	// that mode.
	Unprotected int `json:"unprotected"`
}

// ExchangeCounts are requests since the start, by what became of them.
type ExchangeCounts struct {
	Delivered   uint64 `json:"delivered"`
	Replayed    uint64 `json:"replayed"`    // stored reply finished by the survivor
	Reexecuted  uint64 `json:"reexecuted"`  // executed by the survivor
	Moved       uint64 `json:"moved"`       // given to the peer because the web server here failed
	Unprotected uint64 `json:"unprotected"` // passed through without being stored
	Failed      uint64 `json:"failed"`
}

// ModeCounts are replies since the start, by how they were protected.
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

// Forecast is what the peer's death at this moment would mean, in connections and, for
// Reexecute, requests.
type Forecast struct {
	Survive   int `json:"survive"`
	Lost      int `json:"lost"`
	Reexecute int `json:"reexecute"`
}

// Takeover is the record of one claim.
type Takeover struct {
	Epoch  uint64         `json:"epoch"`
	Reason string         `json:"reason"`
	At     time.Time      `json:"at"`
	Steps  []TakeoverStep `json:"steps"` // in the order they were done (invariant I6)
}

// TakeoverStep is one step and when it was done.
type TakeoverStep struct {
	Name string  `json:"name"`
	AtMS float64 `json:"at_ms"` // milliseconds since the claim was decided
}
