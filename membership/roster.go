package membership

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

// roster is this package's own copy of who is alive: memberlist changes the nodes that it
// hands out under a lock that nobody else can take.
type roster struct {
	mu    sync.Mutex
	alive map[string]Member
}

func newRoster() *roster { return &roster{alive: make(map[string]Member)} }

func (r *roster) set(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive[m.Name] = m
}

func (r *roster) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.alive, name)
}

func (r *roster) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.alive)
}

// runs reports whether the node is alive in exactly this run.
func (r *roster) runs(name string, id BootID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.alive[name]
	return ok && m.Meta.Boot == id
}

// members returns the live nodes, sorted by name.
func (r *roster) members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Member
	for _, m := range r.alive {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// addrPort reads a node's address; the caller holds memberlist's lock.
func addrPort(n *memberlist.Node) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}
