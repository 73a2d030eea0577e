package proxy

// Settings of a Server that runs can be changed, without a connection being touched: an exchange
// goes on as it began, the next one has the new settings.
//
// What a reply looks like rests on them, and in mode static a reply is out before the peer has it,
// which executes the request again if this host dies then. So it must do that by the same settings.
// Therefore replies go out so only while both hosts say that they have the same (Config.Agreed), and
// a host that is about to change its own says so first, and waits until the peer has heard it and
// has no such reply out any more (Server.Behind). A takeover executes what the lost host had begun by
// the settings of that instant, whatever is changed afterwards.

// Reload changes the settings. SpillDir, Buffers, Ledger and Log stay as New had them, and so does
// what is known of routes that keep their names. It is safe for concurrent use with all else.
func (s *Server) Reload(cfg Config) {
	old := s.cfg()
	cfg.SpillDir, cfg.Buffers, cfg.Ledger = old.SpillDir, old.Buffers, old.Ledger
	cfg = cfg.withDefaults()
	cfg.Log = old.Log
	s.depot.memory.Store(cfg.Memory)
	s.present.Store(newSettings(cfg, old))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.table {
		f.signal() // a standby may need a shadow now
		if f.conn != nil {
			f.nudge() // an executor may have idled for long enough
		}
	}
}
