package proxy

import "github.com/ftgw/ftgw/rewrite"

// Holding is what the server has of one flow.
type Holding struct {
	Duty    Duty   // 0: not accepted yet
	Request uint64 // bytes of the client's that no record has answered; 0 on the executor
	Reply   int64  // bytes of stored replies that are not written yet
}

// Holdings returns what the server has of all its flows.
func (s *Server) Holdings() map[rewrite.FlowID]Holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[rewrite.FlowID]Holding, len(s.table))
	for id, f := range s.table {
		f.mu.Lock()
		h := Holding{Duty: f.duty}
		if f.duty == Standby && !f.promoted {
			h.Request = f.held.Len()
		}
		for _, rec := range f.out.waiting {
			h.Reply += rec.Size
		}
		f.mu.Unlock()
		all[id] = h
	}
	return all
}
