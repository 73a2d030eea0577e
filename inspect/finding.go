package inspect

import (
	"fmt"
	"strings"
)

// Level says how bad a finding is.
type Level uint8

// From the best to the worst.
const (
	OK      Level = iota
	Skipped       // not looked at
	Warning       // it works, but not for long, not for all, or not as well
	Fail          // ftgw does not work so
)

var levels = [...]string{"ok", "skipped", "warning", "fail"}

// String returns the level as it stands in the text and in JSON.
func (l Level) String() string { return levels[l] }

// MarshalText does what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Check names what was looked at. The names are stable; ftgw check --help lists them.
type Check string

// All checks, in the order in which they are reported.
const (
	Config     Check = "config"
	Secret     Check = "secret"
	Privileges Check = "privileges"
	Daemon     Check = "daemon"
	KernelHas  Check = "kernel"
	Interface  Check = "interface"
	LRO        Check = "lro"
	Sysctl     Check = "sysctl"
	Address    Check = "address"
	Gateway    Check = "gateway"
	Ports      Check = "port"
	StateDir   Check = "state_dir"
	Upstream   Check = "upstream"
	Peers      Check = "peer"
	Alike      Check = "alike"
	Clock      Check = "clock"
	Firewalls  Check = "firewall"
)

// Finding is one line of what was found.
type Finding struct {
	Check  Check  `json:"check"`
	Level  Level  `json:"level"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"` // empty where nothing is to be done
}

// Worst returns the worst level of all; without findings OK.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}

// list collects findings.
type list []Finding

func (l *list) add(c Check, level Level, remedy, format string, args ...any) {
	*l = append(*l, Finding{c, level, fmt.Sprintf(format, args...), remedy})
}

// blame adds an error, whose remedy stands in parentheses at its end as everywhere in ftgw.
func (l *list) blame(c Check, level Level, problem string) {
	what, remedy := Split(problem)
	*l = append(*l, Finding{c, level, what, remedy})
}

// Split takes the remedy from the end of an error's text, where it stands in parentheses.
func Split(problem string) (what, remedy string) {
	if !strings.HasSuffix(problem, ")") {
		return problem, ""
	}
	for at, open := len(problem)-1, 0; at > 0; at-- {
		switch problem[at] {
		case ')':
			open++
		case '(':
			if open--; open == 0 {
				return strings.TrimRight(problem[:at], " "), problem[at+1 : len(problem)-1]
			}
		}
	}
	return problem, ""
}
