package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Report sums up results. The zero value is empty and ready; it is safe for concurrent use.
type Report struct {
	mu      sync.Mutex
	sum     Summary
	results []Result
}

// Summary is what the client saw, in numbers.
type Summary struct {
	Requests      int             `json:"requests"`
	Bytes         int64           `json:"bytes_verified"`
	Failures      map[Failure]int `json:"failures,omitempty"`
	Resets        int             `json:"resets"`
	ErrorStatuses int             `json:"error_statuses"`
	Mismatches    int             `json:"digest_mismatches"`
	Hangs         int             `json:"hangs"`
	LongestPause  time.Duration   `json:"longest_pause_ns"`
	PauseOf       string          `json:"longest_pause_of,omitempty"` // the request that had it
}

// Add takes in results. Those that the caller canceled do not count.
func (r *Report) Add(results ...Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range results {
		if x.Failure == Canceled {
			continue
		}
		r.results = append(r.results, x)
		r.sum.add(x)
	}
}

func (s *Summary) add(x Result) {
	s.Requests++
	if x.Pause > s.LongestPause {
		s.LongestPause, s.PauseOf = x.Pause, x.ID
	}
	switch x.Failure {
	case None:
		s.Bytes += x.Bytes
		return
	case Reset:
		s.Resets++
	case BadState:
		s.ErrorStatuses++
	case Digest:
		s.Mismatches++
	case Timeout:
		s.Hangs++
	}
	if s.Failures == nil {
		s.Failures = make(map[Failure]int)
	}
	s.Failures[x.Failure]++
}

// Summary returns the numbers so far.
func (r *Report) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sum
	s.Failures = maps.Clone(s.Failures)
	return s
}

// Results returns every result, in the order they were added.
func (r *Report) Results() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}

// Err returns nil if every request got its whole reply, else the first failures.
func (r *Report) Err() error {
	const most = 8
	var lines []string
	failures := 0
	for _, x := range r.Results() {
		if x.OK() {
			continue
		}
		if failures++; failures <= most {
			lines = append(lines, x.String())
		}
	}
	if failures == 0 {
		return nil
	}
	if failures > most {
		lines = append(lines, fmt.Sprintf("and %d more", failures-most))
	}
	return fmt.Errorf("%d requests failed:\n  %s", failures, strings.Join(lines, "\n  "))
}
