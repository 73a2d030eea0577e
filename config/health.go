package config

import (
	"strings"
	"time"
)

// minHealthInterval keeps checks from being a load of their own.
const minHealthInterval = 100 * time.Millisecond

// checkHealth checks the keys health_*; at ends with the prefix.
func checkHealth(f *findings, at string, s Service) {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }
	if p := s.HealthPath; p != "" && (!strings.HasPrefix(p, "/") || strings.ContainsFunc(p, odd)) && !f.has(at+"path") {
		f.add(at+"path", `write it as in "/health", percent-encoded`, "%q is no path", p)
	}
	if s.HealthInterval < minHealthInterval && !f.has(at+"interval") {
		f.add(at+"interval", "choose 100ms or more", "%s is out of range", s.HealthInterval)
	}
	if s.HealthTimeout <= 0 && !f.has(at+"timeout") {
		f.add(at+"timeout", `write it as in "1s"`, "%s is out of range", s.HealthTimeout)
	}
	const most = 100
	if (s.HealthRise < 1 || s.HealthRise > most) && !f.has(at+"rise") {
		f.add(at+"rise", "choose 1 to 100", "%d is out of range", s.HealthRise)
	}
	if (s.HealthFall < 1 || s.HealthFall > most) && !f.has(at+"fall") {
		f.add(at+"fall", "choose 1 to 100", "%d is out of range", s.HealthFall)
	}
}
