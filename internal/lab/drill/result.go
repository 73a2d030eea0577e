package drill

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// Report is the result of a whole drill.
type Report struct {
	Passed    bool     `json:"passed"`
	Seed      uint64   `json:"seed"`
	Mode      string   `json:"mode"`
	DualRole  bool     `json:"dual_role"`
	TookMS    float64  `json:"took_ms"`
	Scenarios []Result `json:"scenarios"`
}

// Result is that of one scenario.
type Result struct {
	Scenario string          `json:"scenario"`
	Paper    string          `json:"paper,omitempty"`
	About    string          `json:"about"`
	Passed   bool            `json:"passed"`
	Never    string          `json:"not_played,omitempty"` // why it does not occur in the mode
	Pauses   Distribution    `json:"longest_pause_ms"`
	Outcomes map[Outcome]int `json:"interrupted"`
	Rounds   []RoundResult   `json:"rounds"`
}

// RoundResult is that of one round.
type RoundResult struct {
	Round       int             `json:"round"`
	Passed      bool            `json:"passed"`
	Reasons     []string        `json:"reasons,omitempty"` // why it failed
	TookMS      float64         `json:"took_ms"`
	Injected    []Injection     `json:"injected"`
	Client      client.Summary  `json:"client"`
	Outcomes    map[Outcome]int `json:"outcomes"`
	Interrupted []Exchange      `json:"interrupted"`
	Survivors   []Survivor      `json:"survivors"`
	Evidence    string          `json:"evidence,omitempty"` // directory with captures and logs of a round that failed

	missed bool // nothing but ErrMissed
}

// Survivor is what a node that lives counted in the round of one service.
type Survivor struct {
	Node       string        `json:"node"`
	Service    string        `json:"service"`
	Role       string        `json:"role"`
	Replayed   uint64        `json:"replayed"`
	Reexecuted uint64        `json:"reexecuted"`
	Failed     uint64        `json:"failed"`
	Takeover   *lab.Takeover `json:"takeover,omitempty"`
	ClaimMS    float64       `json:"fault_to_claim_ms,omitempty"`
}

// Distribution sums up the longest pause of each round, in milliseconds.
type Distribution struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// distribution takes the nearest rank.
func distribution(values []float64) (d Distribution) {
	if len(values) == 0 {
		return d
	}
	v := slices.Sorted(slices.Values(values))
	rank := func(percent int) float64 { return v[max(0, (len(v)*percent+99)/100-1)] }
	return Distribution{P50: rank(50), P99: rank(99), Max: v[len(v)-1]}
}

// sum completes a result whose rounds have been played.
func (x *Result) sum() {
	x.Passed = len(x.Rounds) > 0
	x.Outcomes = make(map[Outcome]int)
	var pauses []float64
	for _, r := range x.Rounds {
		x.Passed = x.Passed && r.Passed
		pauses = append(pauses, ms(r.Client.LongestPause))
		for o, n := range r.Outcomes {
			x.Outcomes[o] += n
		}
	}
	x.Pauses = distribution(pauses)
}

// WriteText writes one round for a reader.
func (r RoundResult) WriteText(w io.Writer, of int) {
	verdict := "ok"
	if !r.Passed {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "  round %d of %d  %s  %.1f s\n", r.Round+1, of, verdict, r.TookMS/1000)
	for _, i := range r.Injected {
		fmt.Fprintf(w, "    %5.0f ms  %s\n", i.AtMS, i.What)
	}
	for _, s := range r.Survivors {
		if s.Takeover != nil {
			fmt.Fprintf(w, "    %s claimed %s %.0f ms after the fault: %s\n", s.Node, s.Service, s.ClaimMS, s.Takeover.Reason)
		}
	}
	c := r.Client
	fmt.Fprintf(w, "    client: %d requests, %.1f MB verified, %d wrong digests, %d resets, %d error replies, %d hangs, longest pause %.0f ms\n",
		c.Requests, float64(c.Bytes)/1e6, c.Mismatches, c.Resets, c.ErrorStatuses, c.Hangs, ms(c.LongestPause))
	fmt.Fprintf(w, "    interrupted: %s\n", outcomesText(r.Outcomes))
	for _, reason := range r.Reasons {
		fmt.Fprintf(w, "    BROKEN: %s\n", strings.ReplaceAll(reason, "\n", "\n      "))
	}
	if r.Evidence != "" {
		fmt.Fprintf(w, "    captures and logs are kept in %s\n", r.Evidence)
	}
}

// WriteText writes the end of one scenario for a reader.
func (x Result) WriteText(w io.Writer, o Options) {
	failed := 0
	for _, r := range x.Rounds {
		if !r.Passed {
			failed++
		}
	}
	if failed > 0 {
		dual := ""
		if o.Setting.DualRole {
			dual = " --dual-role"
		}
		fmt.Fprintf(w, "  FAILED in %d of %d rounds; again: ftgw drill --mode %s%s --only %s --seed %d --rounds %d\n",
			failed, len(x.Rounds), o.Setting.mode(), dual, x.Scenario, o.Seed, len(x.Rounds))
	}
	if len(x.Rounds) > 2 {
		fmt.Fprintf(w, "  interrupted in all rounds: %s\n", outcomesText(x.Outcomes))
		fmt.Fprintf(w, "  longest pause of each round: p50 %.0f ms, p99 %.0f ms, max %.0f ms\n", x.Pauses.P50, x.Pauses.P99, x.Pauses.Max)
	}
}

func outcomesText(m map[Outcome]int) string {
	var parts []string
	for _, o := range Outcomes() {
		if n := m[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
