package address

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The two settings of the kernel's ARP, Documentation/networking/ip-sysctl.rst. The kernel
// takes the larger one of "all" and the interface.
const (
	arpIgnore   = "arp_ignore"   // 1: answer only for addresses of the interface itself
	arpAnnounce = "arp_announce" // 2: name only an address of the interface as sender
)

// sysctlPath names a setting; /proc/sys/net shows the network namespace of the thread that
// opens it.
func sysctlPath(iface, name string) string {
	return filepath.Join("/proc/sys/net/ipv4/conf", iface, name)
}

func readSysctl(iface, name string) (int, error) {
	b, err := os.ReadFile(sysctlPath(iface, name))
	if err != nil {
		return 0, fmt.Errorf("read ARP setting: %w (is interface %s there?)", err, iface)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func writeSysctl(iface, name string, value int) error {
	path := sysctlPath(iface, name)
	if err := os.WriteFile(path, []byte(strconv.Itoa(value)), 0); err != nil {
		return fmt.Errorf("write ARP setting: %w (run as root with /proc/sys writable, or set it before: sysctl -w net.ipv4.conf.%s.%s=%d)", err, iface, name, value)
	}
	return nil
}

// ignoresLoopback reports whether the kernel, with this effective arp_ignore, does not answer
// for an address of host scope on the loopback interface: 0 and the reserved 4 to 7 do.
func ignoresLoopback(arpIgnore int) bool {
	return arpIgnore >= 1 && arpIgnore <= 3 || arpIgnore == 8
}

// restore is one setting as it was.
type restore struct {
	iface, name string
	value       int
}

// silenceARP makes the kernel neither answer for nor name addresses that are not the
// interface's own. It returns what it changed.
func silenceARP(iface string) ([]restore, error) {
	var changed []restore
	for _, s := range []struct {
		name string
		set  int
		good func(int) bool
	}{
		{arpIgnore, 1, ignoresLoopback},
		{arpAnnounce, 2, func(v int) bool { return v >= 2 }},
	} {
		old, err := readSysctl(iface, s.name)
		if err != nil {
			return changed, err
		}
		if !s.good(old) {
			if err := writeSysctl(iface, s.name, s.set); err != nil {
				return changed, err
			}
			changed = append(changed, restore{iface, s.name, old})
			old = s.set
		}
		all, err := readSysctl("all", s.name)
		if err != nil {
			return changed, err
		}
		if v := max(all, old); !s.good(v) {
			return changed, fmt.Errorf("net.ipv4.conf.all.%s=%d lets the kernel answer for the advertised address: set it to 0", s.name, all)
		}
	}
	return changed, nil
}
