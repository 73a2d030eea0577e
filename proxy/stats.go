package proxy

import "sync/atomic"

// Stats is what the server did and does. The first group counts since the start.
type Stats struct {
	Delivered   uint64 // replies that this host executed and wrote whole
	Replayed    uint64 // stored replies that this host finished after a takeover
	Reexecuted  uint64 // requests executed again after a takeover: held, no stored reply
	Moved       uint64 // exchanges that the upstream failed and the peer was given
	Failed      uint64 // exchanges without the upstream's whole reply: 5xx made here, cut or dropped
	SyncStatic  uint64 // of Delivered: replies that the peer had made as well, in mode sync-static
	Static      uint64 // of Delivered: replies that went out before the peer had made them, in mode static
	Deferred    uint64 // of Delivered: replies of which the peer had but digests, in mode deferred
	Unlike      uint64 // replies in either mode that were stored instead: the peer's was another, late or missing
	Mirrored    uint64 // as standby: replies that were made here and are the peer's
	Differed    uint64 // as standby: replies of the peer in either mode that this host has not made
	Unprotected uint64 // replies that were passed through without being stored
	Refused     uint64 // records that could not be stored here
	Unknown     uint64 // accepted connections of no known flow
	Spills      uint64 // bodies that could not be kept; most often the disk was full
	Filed       uint64 // bodies that were moved to a file

	Open      int   // connections, standby ones included
	Standby   int   // connections of which this host is standby
	Inflight  int   // exchanges that this host executes now
	Deferring int   // such replies that are under way, or whose client has not acknowledged all of them
	Alone     int   // connections on which replies are, or were, passed through so
	Held      int   // standby connections with unanswered bytes: re-executed if the peer died now
	Early     int   // flows with records but no connection yet
	OnDisk    int64 // bodies in files
	Memory    int64 // bytes of buffers lent to bodies
}

type counters struct {
	delivered, replayed, reexecuted, moved, failed, unprotected, refused, unknown atomic.Uint64
	synced, static, deferred, unlike, mirrored, differed                          atomic.Uint64
	inflight, deferring                                                           atomic.Int64
}

// Deferring returns how many replies in mode deferred are under way here, which the peer could not speak
// for now. Once Config.MayDefer says no it only falls.
func (s *Server) Deferring() int { return int(s.count.deferring.Load()) }

// Stats returns the present numbers. It walks over all flows.
func (s *Server) Stats() Stats {
	st := Stats{
		SyncStatic:  s.count.synced.Load(), // before Delivered, which it is part of
		Static:      s.count.static.Load(), // likewise
		Deferred:    s.count.deferred.Load(),
		Deferring:   s.Deferring(),
		Delivered:   s.count.delivered.Load(),
		Replayed:    s.count.replayed.Load(),
		Reexecuted:  s.count.reexecuted.Load(),
		Moved:       s.count.moved.Load(),
		Failed:      s.count.failed.Load(),
		Unlike:      s.count.unlike.Load(),
		Mirrored:    s.count.mirrored.Load(),
		Differed:    s.count.differed.Load(),
		Unprotected: s.count.unprotected.Load(),
		Refused:     s.count.refused.Load(),
		Unknown:     s.count.unknown.Load(),
		Spills:      s.depot.failed.Load(),
		Filed:       s.depot.filed.Load(),
		OnDisk:      s.depot.files.Load(),
		Memory:      s.depot.used.Load(),
		Inflight:    int(s.count.inflight.Load()),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Early = s.early
	st.Open = len(s.table) - s.early
	for _, f := range s.table {
		f.mu.Lock()
		if f.unprotected && f.conn != nil {
			st.Alone++
		}
		if f.duty == Standby && !f.promoted {
			st.Standby++
			if f.held.Len() > 0 || f.pending != nil {
				st.Held++
			}
		}
		f.mu.Unlock()
	}
	return st
}
