package state

import "time"

// Flows are the connections of a node, as `ftgw flows --json` prints them.
type Flows struct {
	Node     string         `json:"node"`
	At       time.Time      `json:"at"`
	Services []ServiceFlows `json:"services"`
}

// ServiceFlows are those of one service: the ones that are not protected first, then the oldest.
type ServiceFlows struct {
	Name  string `json:"name"`
	Total int    `json:"total"` // of them; Flows may be fewer
	// Unprotected counts, of all, those that are not protected, by the reason.
	Unprotected map[string]int `json:"unprotected_by_reason"`
	Flows       []Flow         `json:"flows"`
}

// Flow is one connection.
type Flow struct {
	Client string `json:"client"` // with ISN the identity
	ISN    uint32 `json:"isn"`
	// Mode is duplex; simplex: this host alone holds it; unprotected: likewise, because of its
	// route; relayed: the peer alone holds it.
	Mode string `json:"mode"`
	// Why it is not duplex, one of the reasons of rewrite.Lone; empty where it is.
	Why     string `json:"why,omitempty"`
	State   string `json:"state"`            // opening, open or closing
	Part    string `json:"part,omitempty"`   // of this host: executor or standby; empty: it has no socket of it
	Speaker bool   `json:"speaker"`          // this host sends for it
	AgeMS   int64  `json:"age_ms"`           // since its SYN
	IdleMS  int64  `json:"idle_ms"`          // since its last segment
	Request uint64 `json:"unanswered_bytes"` // of the client's, held here until a reply is stored; standby only
	Reply   int64  `json:"stored_bytes"`     // of replies, stored here and not yet given to this host's kernel
}
