package config

import (
	_ "embed"
	"time"
)

// Example is a file with every key, its default and what it is for.
//
//go:embed ftgw.example.toml
var Example string

// ForwardBase is added to the advertised port to get the default forwarding port.
const ForwardBase = 20000

// Default returns the settings of an empty file: every lesser setting has its default, and
// nodes and services are missing.
func Default() Config {
	return Config{
		SecretFile:  "/etc/ftgw/secret",
		Socket:      "/run/ftgw/ftgw.sock",
		StateDir:    "/var/lib/ftgw",
		Metrics:     "127.0.0.1:9901",
		LogLevel:    "info",
		LogFormat:   "text",
		SessionPort: 7950,
		GossipPort:  7946,
		Timing: Timing{
			Heartbeat:      10 * time.Millisecond,
			SuspectAfter:   50 * time.Millisecond,
			ProbeEvery:     10 * time.Millisecond,
			Probes:         3,
			HangTimeout:    time.Second,
			Lease:          300 * time.Millisecond,
			StartWait:      5 * time.Second,
			FenceTimeout:   30 * time.Second,
			HookTimeout:    30 * time.Second,
			ConfirmTimeout: time.Second,
			GossipProbe:    25 * time.Millisecond,
			GossipTimeout:  10 * time.Millisecond,
			RejoinEvery:    time.Second,
			TurnOver:       5 * time.Second,
		},
		Limits: Limits{
			BodyMemory:  1 << 20,
			MaxReply:    64 << 20,
			MaxFlows:    65536,
			MaxHalfOpen: 1024,
			QueueLength: 16384,
			Ledger:      4096,

			RequestLine:   16 << 10,
			RequestHead:   64 << 10,
			RequestFields: 128,
			RequestBody:   1 << 30,
		},
	}
}

// setDefaults prepares an element of [[service]] before its keys are read. Forward depends
// on a key and is filled in afterwards.
func (s *Service) setDefaults() {
	s.UpstreamTimeout = 60 * time.Second
	s.IdleTimeout = 75 * time.Second
	s.setHTTPDefaults()
	s.HealthInterval, s.HealthTimeout = time.Second, time.Second
	s.HealthRise, s.HealthFall = 2, 3
}

// setDefaults prepares an element of [[service.route]].
func (r *Route) setDefaults() { r.Mode = Logged }
