package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// memory is what the daemons and the kernel use, in bytes.
type memory struct {
	resident map[string]int64 // by node
	slab     int64            // of the whole machine; -1: the kernel does not tell
}

func (x *idleBench) memory(b *testing.B) memory {
	b.Helper()
	m := memory{resident: map[string]int64{}, slab: slabs(b)}
	for name, p := range x.nodes {
		m.resident[name] = resident(b, p.PID())
	}
	return m
}

// report gives the growth for each connection; the kernel's includes the client's socket.
func (x *idleBench) report(b *testing.B, before, after memory) {
	b.Helper()
	for name := range x.nodes {
		x.note(name+"-B/idle", float64(after.resident[name]-before.resident[name])/idleConns)
	}
	if before.slab >= 0 {
		x.note("kernel-B/idle", float64(after.slab-before.slab)/(3*idleConns))
	}
}

// resident returns the bytes of a process that are in memory.
func resident(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatalf("read statm: %v", err)
	}
	return pages * int64(os.Getpagesize())
}

// slabs returns the bytes of the kernel objects in use that sockets consist of.
func slabs(b *testing.B) (sum int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return -1 // only root may read it, and no kernel must have it
	}
	parts := []string{"TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq"}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // name, objects in use, objects, bytes of one
		if len(f) < 4 || !slices.Contains(parts, f[0]) {
			continue
		}
		used, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			b.Fatalf("read slabinfo: %v", err)
		}
		size, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			b.Fatalf("read slabinfo: %v", err)
		}
		sum += used * size
	}
	return sum
}
