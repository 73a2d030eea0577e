package lab

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Processors returns the numbers of the processors that this program may use, in order.
func Processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("find the processors: %w", err)
	}
	var all []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// Pin has every process that the host starts from now on, and what those start, run on these
// processors only; none: on all.
func (h *Host) Pin(cpus ...int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cpus = slices.Clone(cpus)
}

// SteerReceive has the kernel do the work of what the host receives on one processor (receive
// packet steering), as a machine of its own would, instead of on the one that the packet was sent
// from. Only root of the whole system may, not root of a user namespace. Reboot forgets it.
func (h *Host) SteerReceive(cpu int) error {
	if cpu < 0 || cpu > 31 {
		return fmt.Errorf("steer what %s receives: processor %d, want 0 to 31", h.Name, cpu)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its mounts
		done <- func() error {
			if err := h.NS().enter(); err != nil {
				return err
			}
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			// sysfs shows the network namespace of whoever mounted it.
			if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
				return err
			}
			path := "/sys/class/net/" + hostInterface + "/queues/rx-0/rps_cpus"
			return os.WriteFile(path, fmt.Appendf(nil, "%x", 1<<cpu), 0o644)
		}()
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("steer what %s receives: %w", h.Name, err)
	}
	return nil
}

// pinned calls f on the calling thread, which is locked, while it may use these processors only.
func pinned(cpus []int, f func() error) error {
	if len(cpus) == 0 {
		return f()
	}
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("use the processors %v: %w", cpus, err)
	}
	err := f()
	if back := unix.SchedSetaffinity(0, &before); err == nil {
		err = back
	}
	return err
}
