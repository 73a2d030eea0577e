package metrics

import (
	"runtime"
	"strconv"

	"github.com/ftgw/ftgw/state"
)

// nodeFamilies are of the node and its peers.
func nodeFamilies() []family {
	peer := []string{"peer"}
	peers := func(value func(p *state.Peer) float64) func(*state.Status, sample) {
		return func(s *state.Status, to sample) {
			for i := range s.Peers {
				to(value(&s.Peers[i]), s.Peers[i].Name)
			}
		}
	}
	return []family{
		{"ftgw_build_info", "Always 1; what runs.", gauge, []string{"version", "goversion"},
			func(s *state.Status, to sample) { to(1, s.Version, runtime.Version()) }},
		{"ftgw_warnings", "Things that an operator should see to; ftgw status says which.", gauge, nil,
			func(s *state.Status, to sample) { to(float64(len(s.Warnings))) }},
		{"ftgw_rules_in_force", "0 while the nftables rules or the second fence are not as they should be.", gauge, nil,
			rules(func(r *state.Rules) float64 { return truth(r.Problem == "") })},
		{"ftgw_rules_restored_total", "Times that somebody had removed or changed them, and they were put back.", counter, nil,
			rules(func(r *state.Rules) float64 { return float64(r.Restored) })},
		{"ftgw_peer_up", "1 while the peer is alive, neither suspect nor dead.", gauge, peer,
			peers(func(p *state.Peer) float64 { return truth(p.State == "alive") })},
		{"ftgw_peer_state", "1 for what the peer is held for now.", gauge, []string{"peer", "state"},
			func(s *state.Status, to sample) {
				for _, p := range s.Peers {
					oneOf(to, state.PeerStates, p.State, p.Name)
				}
			}},
		{"ftgw_peer_problem", "1 while something forbids a pair with the peer; ftgw status says what.", gauge, peer,
			peers(func(p *state.Peer) float64 { return truth(p.Problem != "") })},
		{"ftgw_peer_rtt_seconds", "Smoothed round trip of heartbeats; 0 before the first.", gauge, peer,
			peers(func(p *state.Peer) float64 { return micro(p.RTT) })},
		{"ftgw_peer_sessions_total", "Sessions with the peer that came up.", counter, peer,
			peers(func(p *state.Peer) float64 { return float64(p.Sessions) })},
		{"ftgw_peer_messages_dropped_total", "Confirmations and notes given up because the peer did not take them.", counter, peer,
			peers(func(p *state.Peer) float64 { return float64(p.Dropped) })},
	}
}

// rules reads a sample off the state of the rules, which a witness does not have.
func rules(value func(r *state.Rules) float64) func(*state.Status, sample) {
	return func(s *state.Status, to sample) {
		if s.Rules != nil {
			to(value(s.Rules))
		}
	}
}

// trafficFamilies are of the packets and frames of all services.
func trafficFamilies() []family {
	queue := []string{"queue", "direction"}
	queues := func(value func(q *state.Queue) uint64) func(*state.Status, sample) {
		return func(s *state.Status, to sample) {
			for i := range s.Queues {
				q := &s.Queues[i]
				to(float64(value(q)), strconv.Itoa(int(q.Number)), q.Direction)
			}
		}
	}
	return []family{
		{"ftgw_packets_accepted_total", "Packets that went on, by what was noteworthy of them.", counter, []string{"reason"},
			func(s *state.Status, to sample) { each(to, s.Accepted) }},
		{"ftgw_drops_total", "Packets, frames, records and log lines that were dropped, by reason.", counter, []string{"reason"},
			func(s *state.Status, to sample) { each(to, s.Drops) }},
		{"ftgw_arp_frames_total", "ARP frames, by what became of them.", counter, []string{"outcome"},
			func(s *state.Status, to sample) { each(to, s.ARP) }},
		{"ftgw_queue_packets_total", "Packets that the kernel's queue handed over.", counter, queue,
			queues(func(q *state.Queue) uint64 { return q.Packets })},
		{"ftgw_queue_waiting_packets", "Packets that wait for a verdict.", gauge, queue,
			queues(func(q *state.Queue) uint64 { return q.Waiting })},
		{"ftgw_queue_kernel_drops_total", "Packets that the kernel dropped because the queue or its socket was full.", counter,
			[]string{"queue", "direction", "full"}, func(s *state.Status, to sample) {
				for _, q := range s.Queues {
					number := strconv.Itoa(int(q.Number))
					to(float64(q.Full), number, q.Direction, "queue")
					to(float64(q.SocketFull), number, q.Direction, "socket")
				}
			}},
	}
}

// micro returns microseconds in seconds.
func micro(us int64) float64 { return float64(us) / 1e6 }
