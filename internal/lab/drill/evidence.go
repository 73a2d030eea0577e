package drill

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

// line is one line of the merged log.
type line struct {
	at          time.Time
	source, say string
}

// keep puts what explains a failed round into dir, beside the captures that are there: the
// merged log of all processes, the journals and the result itself.
func (r *Round) keep(dir string, result RoundResult) error {
	err := errors.Join(r.writeLog(filepath.Join(dir, "merged.log")), r.copyJournals(dir))
	text, bad := json.MarshalIndent(result, "", "  ")
	if bad == nil {
		bad = os.WriteFile(filepath.Join(dir, "result.json"), append(text, '\n'), 0o600)
	}
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("keep the evidence: %w", err)
	}
	return nil
}

func (r *Round) copyJournals(dir string) error {
	for _, h := range []*lab.Host{r.A, r.B} {
		text, err := os.ReadFile(h.JournalPath())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, h.Name+".journal"), text, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeLog merges what all processes printed since a second before the round, what the drill
// injected and what the clients saw, by time.
func (r *Round) writeLog(path string) error {
	since := r.begin.Add(-time.Second)
	var all []line
	for _, h := range []*lab.Host{r.A, r.B, r.Witness} {
		for _, p := range h.Processes() {
			lines, err := readLog(p.LogPath(), fmt.Sprintf("%s/%s[%d]", h.Name, p.Name, p.PID()))
			if err != nil {
				return err
			}
			all = append(all, lines...)
		}
	}
	for _, i := range r.injections() {
		all = append(all, line{r.begin.Add(time.Duration(i.AtMS * float64(time.Millisecond))), "drill", i.What})
	}
	for _, x := range r.Report.Results() {
		all = append(all, line{x.Start, "client", fmt.Sprintf("%s %s from %s", x.Method, x.ID, x.Local)}, line{x.End, "client", x.String()})
	}
	all = slices.DeleteFunc(all, func(l line) bool { return l.at.Before(since) })
	slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
	var out bytes.Buffer
	for _, l := range all {
		fmt.Fprintf(&out, "%s %9.3f %-14s %s\n", l.at.Format("15:04:05.000"), ms(l.at.Sub(r.begin)), l.source, l.say)
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

// readLog reads one process's log. A line that does not begin with its time belongs to the one
// before it.
func readLog(path, source string) (lines []line, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var at time.Time
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		say := s.Text()
		if stamp, rest, ok := strings.Cut(say, " "); ok && strings.HasPrefix(stamp, "time=") {
			if t, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(stamp, "time=")); err == nil {
				at, say = t, rest
			}
		}
		lines = append(lines, line{at, source, say})
	}
	return lines, nil
}
