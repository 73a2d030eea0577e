package inspect

import (
	"fmt"
	"slices"
	"strings"
)

// Names of settings; the first four are those in which hosts must be alike.
var tcpSettings = []string{"net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling", "net.ipv4.tcp_ecn"}

const syncookies = "net.ipv4.tcp_syncookies"

// OfInterface names a setting of one interface, or of "all".
func OfInterface(iface, name string) string { return "net.ipv4.conf." + iface + "." + name }

// SysctlNames are the settings that Judge wants to know.
func SysctlNames(iface string) []string {
	names := append([]string{syncookies}, tcpSettings...)
	for _, s := range interfaceSettings {
		names = append(names, OfInterface("all", s.name), OfInterface(iface, s.name))
	}
	return names
}

// interfaceSettings are those of which the kernel takes the larger one of "all" and the
// interface's, what run sets where the value is not good, and what for.
var interfaceSettings = []struct {
	name string
	good func(int) bool
	set  int
	harm string
}{
	{"arp_ignore", func(v int) bool { return v >= 1 && v <= 3 || v == 8 }, 1, "the kernel answers for the advertised address, whoever owns it"},
	{"arp_announce", func(v int) bool { return v >= 2 }, 2, "the kernel names the advertised address as its own when it asks for others"},
	{"rp_filter", func(v int) bool { return v != 1 }, 2, "the kernel drops clients' segments, whose way back leads to the second fence"},
}

func (l *list) sysctls(f Facts) {
	before := len(*l)
	var said []string
	for _, name := range tcpSettings {
		v, there := f.Sysctls.Values[name]
		switch {
		case !there:
			l.add(Sysctl, Skipped, "", "%s cannot be read", name)
		case v == 0 && name != "net.ipv4.tcp_ecn":
			l.add(Sysctl, Warning, "sysctl -w "+name+"=1, on both hosts", "%s is 0, so connections are slower to recover", name)
		default:
			said = append(said, fmt.Sprintf("%s %d", name[strings.LastIndex(name, ".")+1:], v))
		}
	}
	if f.Sysctls.Values[syncookies] == 2 {
		l.add(Sysctl, Fail, "sysctl -w "+syncookies+"=1", "%s is 2: every connection begins with a cookie, which the other host cannot check", syncookies)
	}
	for _, s := range interfaceSettings {
		if note := l.interfaceSetting(f, s.name, s.good, s.set, s.harm); note != "" {
			said = append(said, note)
		}
	}
	if len(*l) == before {
		l.add(Sysctl, OK, "", "%s", strings.Join(said, ", "))
	}
}

// interfaceSetting judges one of the interface's and returns what is to be said of a good one.
func (l *list) interfaceSetting(f Facts, name string, good func(int) bool, set int, harm string) string {
	here, all := OfInterface(f.Place.Interface, name), OfInterface("all", name)
	v, there := f.Sysctls.Values[here]
	effective := max(v, f.Sysctls.Values[all])
	change := fmt.Sprintf("sysctl -w %s=%d", here, set)
	switch {
	case !there:
		l.add(Sysctl, Skipped, "", "%s cannot be read", here)
	case good(effective):
		return fmt.Sprintf("%s %d", name, effective)
	case !good(max(set, f.Sysctls.Values[all])):
		l.add(Sysctl, Fail, "sysctl -w "+all+"=0", "%s is %d, so %s", all, f.Sysctls.Values[all], harm)
	case f.Running != nil:
		l.add(Sysctl, Fail, change, "%s is %d while ftgw runs, so %s", here, v, harm)
	case slices.Contains(f.Lacks, "NET_ADMIN"):
		return fmt.Sprintf("%s %d (run sets it to %d, with NET_ADMIN)", name, effective, set)
	case !f.Sysctls.Writable:
		l.add(Sysctl, Warning, change+"; run does that itself where it may", "%s is %d, so %s", here, v, harm)
	default:
		return fmt.Sprintf("%s %d (run sets it to %d)", name, effective, set)
	}
	return ""
}
