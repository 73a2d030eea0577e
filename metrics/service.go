package metrics

import "github.com/ftgw/ftgw/state"

// services reads one sample off each service.
func services(value func(v *state.Service) float64) func(*state.Status, sample) {
	return func(s *state.Status, to sample) {
		for i := range s.Services {
			to(value(&s.Services[i]), s.Services[i].Name)
		}
	}
}

// labelled reads several samples off each service, by a second label.
func labelled(values func(v *state.Service, to func(value float64, label string))) func(*state.Status, sample) {
	return func(s *state.Status, to sample) {
		for i := range s.Services {
			v := &s.Services[i]
			values(v, func(value float64, label string) { to(value, v.Name, label) })
		}
	}
}

// by returns the labels of a metric that labelled reads.
func by(label string) []string { return []string{"service", label} }

// serviceFamilies are of each service.
func serviceFamilies() []family {
	service := []string{"service"}
	return append([]family{
		{"ftgw_service_info", "Always 1; the service's advertised address.", gauge, by("advertised"),
			labelled(func(v *state.Service, to func(float64, string)) { to(1, v.Advertised) })},
		{"ftgw_role", "1 for this node's role.", gauge, by("role"),
			func(s *state.Status, to sample) {
				for _, v := range s.Services {
					oneOf(to, state.Roles, v.Role, v.Name)
				}
			}},
		{"ftgw_epoch", "The epoch in force; of a witness, the last one granted.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Epoch) })},
		{"ftgw_owner", "1 while this node answers for the advertised address.", gauge, service,
			func(s *state.Status, to sample) {
				for _, v := range s.Services {
					to(truth(v.Owner == s.Node), v.Name)
				}
			}},
		{"ftgw_duplex", "1 while new connections are held by two hosts.", gauge, service,
			services(func(v *state.Service) float64 { return truth(v.Mode == "duplex") })},
		{"ftgw_in_sync", "1 while this node and its peer are a pair, with a session.", gauge, service,
			services(func(v *state.Service) float64 { return truth(v.InSync) })},
		{"ftgw_lease_held", "1 while this node may speak for the address.", gauge, service,
			services(func(v *state.Service) float64 { return truth(v.Lease.Held) })},
		{"ftgw_lease_renewals_total", "Renewals of the lease, of all services with the same nodes together.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Lease.Renewals) })},
		{"ftgw_lease_failures_total", "Changes of the lease that the kernel refused.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Lease.Failures) })},
		{"ftgw_takeovers_total", "Claims by this node.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Claims) })},
		{"ftgw_last_takeover_timestamp_seconds", "When the latest claim by this node was decided.", gauge, service,
			func(s *state.Status, to sample) {
				for _, v := range s.Services {
					if t := v.LastTakeover; t != nil {
						to(float64(t.At.UnixMilli())/1000, v.Name)
					}
				}
			}},
		{"ftgw_last_takeover_step_seconds", "When each step of the latest claim was done, since it was decided.", gauge, by("step"),
			labelled(func(v *state.Service, to func(float64, string)) {
				if v.LastTakeover == nil {
					return
				}
				done := map[string]bool{}
				for _, step := range v.LastTakeover.Steps {
					if !done[step.Name] { // what is done again later is no step of the claim
						to(step.AtMS/1000, step.Name)
					}
					done[step.Name] = true
				}
			})},
		{"ftgw_fenced_total", "Times that this node was fenced by another one's claim.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Fenced) })},
	}, loadFamilies()...)
}

// loadFamilies are of each service's connections, exchanges and web server.
func loadFamilies() []family {
	service := []string{"service"}
	return []family{
		{"ftgw_flows", "Connections, by state.", gauge, by("state"),
			labelled(func(v *state.Service, to func(float64, string)) {
				f := v.Flows
				to(float64(f.Duplex), "duplex")
				to(float64(f.Simplex), "simplex")
				to(float64(f.Relayed), "relayed")
				to(float64(f.HalfOpen), "half-open")
				to(float64(f.Closing), "closing")
			})},
		{"ftgw_unprotected_flows", "Connections that are simplex because of a route in mode unprotected.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Flows.Unprotected) })},
		{"ftgw_forecast_flows", "What the peer's death now would mean for the connections.", gauge, by("fate"),
			labelled(func(v *state.Service, to func(float64, string)) {
				to(float64(v.IfDied.Survive), "survive")
				to(float64(v.IfDied.Lost), "lost")
			})},
		{"ftgw_forecast_reexecuted_requests", "Requests that would be executed again if the peer died now.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.IfDied.Reexecute) })},
		{"ftgw_exchanges_total", "Exchanges, by what became of them here.", counter, by("outcome"),
			labelled(func(v *state.Service, to func(float64, string)) {
				x := v.Exchanges
				to(float64(x.Delivered), "delivered")
				to(float64(x.Replayed), "replayed")
				to(float64(x.Reexecuted), "reexecuted")
				to(float64(x.Moved), "moved")
				to(float64(x.Unprotected), "unprotected")
				to(float64(x.Failed), "failed")
			})},
		{"ftgw_exchanges_running", "Exchanges that are executed here now.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Exchanges.Running) })},
		{"ftgw_replies_total", "Replies, by how they were protected.", counter, by("mode"),
			labelled(func(v *state.Service, to func(float64, string)) {
				to(float64(v.Modes.Logged), "logged")
				to(float64(v.Modes.SyncStatic), "sync-static")
				to(float64(v.Modes.Static), "static")
				to(float64(v.Modes.Deferred), "deferred")
				to(float64(v.Modes.Unprotected), "unprotected")
			})},
		{"ftgw_comparisons_total", "Replies on static and sync-static routes that were compared, by the result.", counter, by("result"),
			labelled(func(v *state.Service, to func(float64, string)) {
				to(float64(v.Modes.Instead), "stored-instead")
				to(float64(v.Modes.Mirrored), "same-as-backup")
				to(float64(v.Modes.Differed), "other-as-backup")
			})},
		{"ftgw_replication_unstored_records", "Records that the peer has not stored yet.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.Unstored) })},
		{"ftgw_replication_unstored_bytes", "Bytes of replies in these.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.UnstoredBytes) })},
		{"ftgw_replication_lag_seconds", "How long the oldest of these has waited.", gauge, service,
			services(func(v *state.Service) float64 { return micro(v.Replication.Lag) })},
		{"ftgw_replication_stored_records_total", "Records that the peer has stored.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.Stored) })},
		{"ftgw_replication_stored_bytes_total", "Bytes of replies in these.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.StoredBytes) })},
		{"ftgw_replication_store_seconds_total", "Time that storing these took, each from its sending to the peer's answer.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.StoreTime) / 1e6 })},
		{"ftgw_replication_refused_records_total", "Records of the peer that could not be stored here.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.Unstorable) })},
		{"ftgw_unknown_connections_total", "Connections that the kernel accepted and that are of no known flow.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Replication.Strangers) })},
		{"ftgw_upstream_state", "1 for what this node's web server is held for.", gauge, by("state"),
			func(s *state.Status, to sample) {
				for _, v := range s.Services {
					oneOf(to, state.UpstreamStates, v.Upstream, v.Name)
				}
			}},
		{"ftgw_upstream_checks_total", "Health checks.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Web.Checks) })},
		{"ftgw_upstream_failed_checks_total", "Health checks that failed.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Web.FailedChecks) })},
		{"ftgw_upstream_connections", "Connections to the web server, by state; waiting: requests without one.", gauge, by("state"),
			labelled(func(v *state.Service, to func(float64, string)) {
				to(float64(v.Web.Lent), "lent")
				to(float64(v.Web.Idle), "idle")
				to(float64(v.Web.Waiting), "waiting")
			})},
		{"ftgw_upstream_connects_total", "Connections that were made to the web server.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Web.Connects) })},
		{"ftgw_upstream_failed_connects_total", "Connections that could not be made.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Web.Failed) })},
		{"ftgw_upstream_idle_connections_total", "Idle connections, by what became of them.", counter, by("outcome"),
			labelled(func(v *state.Service, to func(float64, string)) {
				to(float64(v.Web.Reused), "reused")
				to(float64(v.Web.Stale), "stale")
				to(float64(v.Web.Expired), "expired")
			})},
		{"ftgw_body_memory_bytes", "Memory lent to bodies of requests and replies.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Bodies.Memory) })},
		{"ftgw_spilled_bodies", "Bodies that are in files now.", gauge, service,
			services(func(v *state.Service) float64 { return float64(v.Bodies.OnDisk) })},
		{"ftgw_spills_total", "Bodies that were moved to a file.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Bodies.Spilled) })},
		{"ftgw_spill_failures_total", "Bodies that could not be kept; most often the disk was full.", counter, service,
			services(func(v *state.Service) float64 { return float64(v.Bodies.Failures) })},
	}
}
