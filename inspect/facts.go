package inspect

import (
	"net/netip"
	"time"
)

// Facts are what was found on a host before anything is judged. Problems are errors in words, of
// which the remedy stands in parentheses at the end; empty: there is none.
type Facts struct {
	Witness    bool
	Own        netip.Addr   // this node's address
	Advertised []netip.Addr // each once; none on a witness

	Lacks       []string // capabilities of those that run needs which this process does not have
	Running     *Running // nil: no ftgw runs here
	Kernel      *Kernel  // nil: not looked at
	Place       Place
	LRO         []string // interfaces below the one of Place, itself included, that merge segments
	NoLRO       string   // why that is not known
	Sysctls     Sysctls
	Stations    *Stations // nil: not looked at
	Ports       []Port
	StateDir    string // problem
	StateDenied bool   // it is only that this process may not find out
	Web         []Web
	Peers       []Peer
	Traffic     []Traffic // nil: not looked at
	Firewall    Firewall
}

// Running is the ftgw of this host.
type Running struct {
	Socket string
	Other  bool     // its config differs from the file
	Asked  bool     // whether it does is known
	Lost   []string // of a witness: nodes that are not connected to it
}

// Kernel is what the kernel has of what ftgw needs.
type Kernel struct {
	Release  string
	Queue    bool     // nftables' own queue expression
	Egress   bool     // the egress hook
	Problems []string // what it lacks
}

// Place is where the node is attached.
type Place struct {
	Interface string // empty: not found
	Problem   string // why, or what is wrong with it
	Up        bool
	MTU       int
	Subnets   []netip.Prefix // of the interface
	Apart     string         // problem: this node's replication_address is where it should not be
	Elsewhere string         // problem: an advertised address is on an interface other than lo
	Gateway   netip.Addr     // what is asked whether the own link works
	NoGateway string         // problem: it is not known
}

// Sysctls are settings of the kernel by their names; one that it does not have is not there.
type Sysctls struct {
	Values   map[string]int
	Writable bool // by this process
}

// Stations are the Ethernet addresses that answered for each address, those of this host's own
// interface left out.
type Stations struct {
	Answers map[netip.Addr][]string
	Problem string // why nobody could be asked
}

// Port is one that ftgw binds.
type Port struct {
	What   string // "gossip port 192.0.2.11:7946"
	Key    string // by which another one is chosen; empty: the program there has to go
	Taken  bool
	Denied bool   // this process may not find out
	Wrong  string // any other problem
}

// Web is a service's upstream.
type Web struct {
	Service, Address, Problem string
}

// Peer is another node that this one has to do with.
type Peer struct {
	Name    string
	Address netip.Addr
	Witness bool
	Problem string        // why it does not answer, or would be no pair
	Remedy  string        // for that
	Refused bool          // it is there and would never be a pair
	Skew    time.Duration // how far its clock is ahead
	Skewed  string        // problem: that is too far
	Unlike  bool          // it has other settings, of those that a reload changes
	Kernel  bool          // it says what its kernel is set to
	Differs string        // problem: in what that differs

	Apart     netip.Addr // its replication_address; zero: none, or not asked
	Unreached string     // problem: it does not answer there
}

// Traffic is a kind of packet that ftgw needs to pass, and the chains that drop it.
type Traffic struct {
	What      string
	Match     string // what nft would call it by
	Untracked bool
	Blocks    []Block
}

// Block is a chain that drops packets.
type Block struct {
	Chain  string // family, table, chain
	Policy bool   // by its policy and not by a rule
	Some   bool   // some may pass
}

// Firewall says what of the host's filters was not looked at.
type Firewall struct {
	Unread []string
	Legacy bool // there are rules of iptables-legacy
}
