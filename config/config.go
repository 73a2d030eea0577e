// Package config is the one file that every node of a cluster shares: its types, its defaults
// and its mistakes. All mistakes are found in one reading and each names its line, its key
// and the remedy. Nothing here opens a socket or looks at an interface; what only a running
// node can know (is the address here, is the port free) is found out by the one who runs it.
package config

import (
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// Config is a checked file with every default filled in. It is not changed after Load or
// Parse returned it, so it may be read from any goroutine.
//
// The tag local marks keys that may differ from node to node, and reload those that a running node
// takes anew, see Changes.
type Config struct {
	SecretFile  string     `toml:"secret_file"`                          // path of the shared secret, see ReadSecret
	Name        string     `toml:"name" local:"true"`                    // this node; never empty after Load
	Interface   string     `toml:"interface" local:"true"`               // empty: the one that has this node's address
	Socket      string     `toml:"socket" local:"true"`                  // path of the operators' unix socket
	StateDir    string     `toml:"state_dir" local:"true"`               // epochs and spilled bodies
	Metrics     string     `toml:"metrics" local:"true"`                 // IP:port of the web page and of /metrics; empty: off
	LogLevel    string     `toml:"log_level" local:"true" reload:"true"` // debug, info, warn or error, and above
	LogFormat   string     `toml:"log_format" local:"true"`              // text or json
	Probe       netip.Addr `toml:"probe"`                                // evidence G of the design; zero: the gateway
	SessionPort uint16     `toml:"session_port"`                         // TCP, replication between the nodes
	GossipPort  uint16     `toml:"gossip_port"`                          // TCP and UDP, membership

	Nodes    []Node    `toml:"node"`
	Services []Service `toml:"service"`
	Timing   Timing    `toml:"timing"`
	Limits   Limits    `toml:"limits"`
	Hooks    Hooks     `toml:"hooks" reload:"true"`
}

// Node is one host of the cluster. Its place in Config.Nodes is its index.
type Node struct {
	Name    string     `toml:"name"`    // letters, digits, '-', '_' and '.'
	Address netip.Addr `toml:"address"` // its own address, never an advertised one
	Witness bool       `toml:"witness"` // grants takeovers and serves nothing; at most one node
	// ReplicationAddress is the node's address on a network of the nodes' own, which then carries
	// replies and confirmations; Address stands in for it while it is down. All nodes of a service
	// have one, or none. Zero: there is none.
	ReplicationAddress netip.Addr `toml:"replication_address"`
	// Fence is a shell command by which the other nodes power this one off; exit status 0 says
	// that it is off. Empty: there is none.
	Fence string `toml:"fence"`
}

// Service is one advertised address and the nodes that serve it.
type Service struct {
	Name       string         `toml:"name"`
	Advertised netip.AddrPort `toml:"advertised"`             // what clients connect to
	Nodes      []string       `toml:"nodes"`                  // two or more: primary, backup, then spares
	Upstream   string         `toml:"upstream" reload:"true"` // the local web server, on each node; see SplitUpstream
	// Forward is the port by which clones of client segments reach the peer (DESIGN §3),
	// 20000 + the advertised port unless set.
	Forward         uint16        `toml:"forward"`
	UpstreamTimeout time.Duration `toml:"upstream_timeout" reload:"true"` // longest silence of the web server
	IdleTimeout     time.Duration `toml:"idle_timeout" reload:"true"`     // connection between two requests
	HeadTimeout     time.Duration `toml:"head_timeout" reload:"true"`     // from a request's first byte to the end of its head
	BodyTimeout     time.Duration `toml:"body_timeout" reload:"true"`     // longest silence within a request's body
	BodyRate        Bytes         `toml:"body_rate" reload:"true"`        // per second, of a body after its first BodyTimeout; 0: any
	Via             string        `toml:"via" reload:"true"`              // this gateway's name in the field Via; "-": no such field
	ProxyProtocol   bool          `toml:"proxy_protocol" reload:"true"`   // PROXY protocol version 2 to the web server
	AccessLog       string        `toml:"access_log" reload:"true"`       // path, below StateDir if it is relative; empty: none
	AccessLogFormat string        `toml:"access_log_format" reload:"true"`
	Forwarding      Forwarding    `toml:"forwarding" reload:"true"`
	Routes          []Route       `toml:"route" reload:"true"`

	// The web server's health, as each node asks its own. A primary whose server is unhealthy hands
	// its part to a peer whose server is not.
	HealthPath     string        `toml:"health_path" reload:"true"`     // asked for by GET, 2xx and 3xx are good; empty: to connect is enough
	HealthInterval time.Duration `toml:"health_interval" reload:"true"` // between two checks
	HealthTimeout  time.Duration `toml:"health_timeout" reload:"true"`  // of one check
	HealthRise     int           `toml:"health_rise" reload:"true"`     // good checks in a row that end unhealthy
	HealthFall     int           `toml:"health_fall" reload:"true"`     // bad ones in a row that end healthy
}

// Timing holds every delay that decides a takeover. The defaults suit a local network.
type Timing struct {
	Heartbeat      time.Duration `toml:"heartbeat"`                   // between two signs of life on the session
	SuspectAfter   time.Duration `toml:"suspect_after"`               // silence that makes a peer suspect
	ProbeEvery     time.Duration `toml:"probe_every"`                 // between two ARP probes of a suspect
	Probes         int           `toml:"probes"`                      // probes without an answer that prove death
	HangTimeout    time.Duration `toml:"hang_timeout"`                // silence of a daemon whose kernel answers
	Lease          time.Duration `toml:"lease"`                       // how long a stopped speaker goes on speaking
	StartWait      time.Duration `toml:"start_wait"`                  // before a node alone claims an empty address
	FenceTimeout   time.Duration `toml:"fence_timeout" reload:"true"` // a fence command that takes longer has failed
	HookTimeout    time.Duration `toml:"hook_timeout" reload:"true"`  // a hook that takes longer is killed
	ConfirmTimeout time.Duration `toml:"confirm_timeout"`             // unconfirmed input: the flow falls to simplex; at least 0.7 HangTimeout
	GossipProbe    time.Duration `toml:"gossip_probe"`                // between two membership probes
	GossipTimeout  time.Duration `toml:"gossip_timeout"`              // answer to a membership probe
	RejoinEvery    time.Duration `toml:"rejoin_every"`                // between two attempts to heal membership

	// TurnOver is how long a connection that one host holds alone may idle once there is a pair
	// again; a busy one ends at its next reply, so that the client's next is held by both. 0: such
	// connections go on unprotected.
	TurnOver time.Duration `toml:"turn_over" reload:"true"`
}

// Limits bounds what clients can make a node hold.
type Limits struct {
	BodyMemory  Bytes `toml:"body_memory" reload:"true"`   // of one request or reply; more spills to state_dir
	MaxReply    Bytes `toml:"max_reply" reload:"true"`     // stored before its first byte goes out; what is longer goes out in parts
	MaxFlows    int   `toml:"max_flows" reload:"true"`     // connections of a node, all services together
	MaxHalfOpen int   `toml:"max_half_open" reload:"true"` // unanswered SYNs of a node, below the kernel's backlog
	QueueLength int   `toml:"queue_length"`                // packets waiting in one kernel queue
	Ledger      int   `toml:"ledger"`                      // exchanges remembered per service, for ftgw ledger
	Workers     int   `toml:"workers"`                     // packet workers; 0: see WorkerCount

	RequestLine   Bytes `toml:"request_line" reload:"true"`   // of a request, else 414
	RequestHead   Bytes `toml:"request_head" reload:"true"`   // of a request, its line included, else 431
	RequestFields int   `toml:"request_fields" reload:"true"` // of a request's head, else 431
	RequestBody   Bytes `toml:"request_body" reload:"true"`   // of a request, else 413; 0: any number
}

// WorkerCount returns Workers, or where that is 0 the smaller of 2 and the number of
// processors.
func (l Limits) WorkerCount() int {
	if l.Workers > 0 {
		return l.Workers
	}
	return min(2, runtime.NumCPU())
}

// Self returns the node that this file was loaded for.
func (c *Config) Self() Node {
	n, _ := c.Node(c.Name)
	return n
}

// Node returns the node of that name and whether there is one.
func (c *Config) Node(name string) (Node, bool) {
	if i := c.Index(name); i >= 0 {
		return c.Nodes[i], true
	}
	return Node{}, false
}

// Index returns the place of the named node in the file, counted from 0, or -1.
func (c *Config) Index(name string) int {
	return slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
}

// Witness returns the witness and whether there is one.
func (c *Config) Witness() (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Witness })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}
