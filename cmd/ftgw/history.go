// Who a group's peer was at a time that is past, for the ledger.
package main

import (
	"slices"
	"sync"
	"time"
)

// mostPeers bounds the memory of former peers; what is older counts as of the oldest kept.
const mostPeers = 64

// history is safe for concurrent use. The zero value is empty; it is asked once it is not.
type history struct {
	mu   sync.Mutex
	list []term
}

// term is the time of one peer, by its index in the group, up to the next.
type term struct {
	from time.Time
	peer int
}

func (h *history) add(from time.Time, peer int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == mostPeers {
		h.list = slices.Delete(h.list, 0, 1)
	}
	h.list = append(h.list, term{from, peer})
}

// at returns the peer at a time.
func (h *history) at(t time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	peer := h.list[0].peer
	for _, v := range h.list {
		if v.from.After(t) {
			break
		}
		peer = v.peer
	}
	return peer
}
