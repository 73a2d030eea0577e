package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/inspect"
)

// Lacks returns which of the capabilities that a node needs this process does not have:
// NET_ADMIN, NET_RAW, and NET_BIND_SERVICE if it binds ports below 1024.
func Lacks(lowPorts bool) ([]string, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	var lacks []string
	for _, c := range []struct {
		bit    int
		name   string
		needed bool
	}{{unix.CAP_NET_ADMIN, "NET_ADMIN", true}, {unix.CAP_NET_RAW, "NET_RAW", true}, {unix.CAP_NET_BIND_SERVICE, "NET_BIND_SERVICE", lowPorts}} {
		if c.needed && data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	return lacks, nil
}

// Release is the running kernel's, such as 6.1.0-13-amd64.
func Release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "this kernel"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// Sysctls reads settings by their names, with dots for slashes; interfaces' names may hold dots.
func Sysctls(iface string) inspect.Sysctls {
	s := inspect.Sysctls{Values: map[string]int{}, Writable: true}
	for _, name := range inspect.SysctlNames(iface) {
		path := sysctlPath(name, iface)
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if v, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			s.Values[name] = v
		}
		if unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) != nil {
			s.Writable = false
		}
	}
	return s
}

func sysctlPath(name, iface string) string {
	const at = "/proc/sys/"
	if before, after, found := strings.Cut(name, "."+iface+"."); found && iface != "" {
		return at + strings.ReplaceAll(before, ".", "/") + "/" + iface + "/" + after
	}
	return at + strings.ReplaceAll(name, ".", "/")
}

// LRO returns the interfaces with large receive offload among the named one and those that it is
// made of, as a bond or a VLAN is.
func LRO(iface string) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var on []string
	for _, name := range below(iface, links) {
		flags, err := ethtoolFlags(name)
		if err != nil {
			return on, fmt.Errorf("read the offloads of %s: %w (see: ethtool -k %s)", name, err, name)
		}
		if flags&flagLRO != 0 {
			on = append(on, name)
		}
	}
	return on, nil
}

// below returns an interface and all that it is made of.
func below(iface string, links []netlink.Link) []string {
	names := []string{iface}
	for at := 0; at < len(names); at++ {
		var index, parent int
		for _, l := range links {
			if l.Attrs().Name == names[at] {
				index, parent = l.Attrs().Index, l.Attrs().ParentIndex
			}
		}
		for _, l := range links {
			a := l.Attrs()
			// The parent of a veth is its other end, which may be in another namespace.
			lower := index != 0 && a.MasterIndex == index || parent != 0 && a.Index == parent && l.Type() != "veth"
			if lower && len(names) < len(links) && a.Name != names[at] {
				names = append(names, a.Name)
			}
		}
	}
	return names
}
