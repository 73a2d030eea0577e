package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

const (
	sysctlCongestion = "net/ipv4/tcp_congestion_control"
	sysctlAllowed    = "net/ipv4/tcp_allowed_congestion_control"
)

// Sysctl sets a network setting of this host, such as net/ipv4/tcp_sack. Reboot forgets it.
func (h *Host) Sysctl(key, value string) error {
	if err := h.Do(func() error { return writeSysctl(key, value) }); err != nil {
		return fmt.Errorf("set up %s: %w", h.Name, err)
	}
	return nil
}

// useCongestionControl sets the lab's choice in this host's namespace, once there is one.
func (h *Host) useCongestionControl() error {
	if h.lab.congest == "" {
		return nil
	}
	return h.lab.setCongestionControl(h, h.lab.congest)
}

// writeSysctl works on the calling thread's namespace: /proc/sys/net shows that one.
func writeSysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + key)
	return strings.TrimSpace(string(b)), err
}

// chooseCongestionControl finds out what the namespaces may use. A namespace may choose only
// what the whole system allows, so a missing permission is added and taken back by Close;
// where that is refused (a user namespace), the system's own stays.
func (l *Lab) chooseCongestionControl() error {
	want := l.options.CongestionControl
	if want == "" {
		return l.readCongestionControl()
	}
	err := l.setCongestionControl(l.Client, want)
	switch {
	case err == nil:
		l.congest = want
		return nil
	case errors.Is(err, os.ErrPermission):
		return l.readCongestionControl()
	default:
		return fmt.Errorf("choose congestion control %s: %w (is its kernel module loaded?)", want, err)
	}
}

// setCongestionControl tries several times, because another lab that closes may take the
// permission back at any moment. A choice once made stays.
func (l *Lab) setCongestionControl(h *Host, name string) (err error) {
	for range 20 {
		err = h.Sysctl(sysctlCongestion, name)
		if !errors.Is(err, os.ErrPermission) || l.allowCongestionControl(name) != nil {
			return err
		}
	}
	return err
}

func (l *Lab) readCongestionControl() error {
	return l.Client.Do(func() (err error) {
		l.congest, err = readSysctl(sysctlCongestion)
		return err
	})
}

// allowCongestionControl changes the setting of the system's first namespace, which the
// program must be in for this to succeed.
func (l *Lab) allowCongestionControl(name string) error {
	allowed, err := readSysctl(sysctlAllowed)
	if err != nil || slices.Contains(strings.Fields(allowed), name) {
		return err
	}
	if err := writeSysctl(sysctlAllowed, allowed+" "+name); err != nil {
		return err
	}
	l.mu.Lock()
	l.allowed = name
	l.mu.Unlock()
	return nil
}

// disallowCongestionControl takes back what allowCongestionControl added.
func (l *Lab) disallowCongestionControl() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.allowed == "" {
		return nil
	}
	allowed, err := readSysctl(sysctlAllowed)
	if err != nil {
		return err
	}
	words := slices.DeleteFunc(strings.Fields(allowed), func(w string) bool { return w == l.allowed })
	return writeSysctl(sysctlAllowed, strings.Join(words, " "))
}
