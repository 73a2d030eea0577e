package load

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The names in Outcome.CPU beside those of hosts.
const (
	Client = "client" // this program
	All    = "all"    // all processors, as far as they were not idle or taken away (steal)
	Steal  = "steal"  // what the machine below took away from this one
)

// Watch names processes by their host. What is told of them is their processor time as the
// scheduler counts it: user and system, and what the kernel does for packets in interrupts on
// their time. What it does while the processor idles or in threads of its own is in All alone.
type Watch map[string][]int

// read returns the processor time used so far, in seconds.
func (w Watch) read() (map[string]float64, error) {
	used := make(map[string]float64, len(w)+3)
	for host, pids := range w {
		for _, pid := range pids {
			var t unix.Timespec
			// The clock of another process, as clock_getcpuclockid(3) makes it.
			if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
				return nil, fmt.Errorf("load: processor time of process %d on %s: %w (has it ended?)", pid, host, err)
			}
			used[host] += float64(t.Nano()) / 1e9
		}
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return nil, fmt.Errorf("load: own processor time: %w", err)
	}
	used[Client] = float64(t.Nano()) / 1e9
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	idle, steal, err := parseStat(string(text))
	if err != nil {
		return nil, err
	}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return nil, fmt.Errorf("load: clock: %w", err)
	}
	used[Steal] = steal
	used[All] = float64(t.Nano())/1e9*float64(processors()) - idle - steal
	return used, nil
}

// parseStat returns the idle and the stolen time of all processors together, in seconds.
func parseStat(text string) (idle, steal float64, err error) {
	const ticks = 100 // a second, USER_HZ
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("load: /proc/stat begins with %q", line)
	}
	var n [9]float64
	for i := 1; i < len(n); i++ {
		if n[i], err = strconv.ParseFloat(f[i], 64); err != nil {
			return 0, 0, fmt.Errorf("load: /proc/stat begins with %q", line)
		}
	}
	return (n[4] + n[5]) / ticks, n[8] / ticks, nil
}

// processors returns how many the machine has, whatever this program may use.
func processors() int {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "cpu") && !strings.HasPrefix(line, "cpu ") {
			n++
		}
	}
	return n
}

// Busy returns the share of the machine's processors that is in use, by looking on for a while.
func Busy(ctx context.Context, d time.Duration) (float64, error) {
	begin := time.Now()
	before, err := Watch{}.read()
	if err != nil {
		return 0, err
	}
	sleepUntil(ctx, begin.Add(d))
	after, err := Watch{}.read()
	return (after[All] - before[All]) / time.Since(begin).Seconds() / float64(processors()), err
}
