package config

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// digestVersion begins what is hashed, so that two versions that read a file differently
// never take it for the same.
const digestVersion = "ftgw config 2\n"

// Digest is a hash of what the nodes of a cluster must have alike to be a pair: all keys but the
// local ones and those that a reload changes, with the defaults filled in. Nodes whose digests
// differ refuse each other.
func (c *Config) Digest() [32]byte {
	return c.hash(func(l leaf) bool { return !l.live && !l.local })
}

// Settings is a hash of what a reload changes, but for local keys. It should be alike on all nodes
// and may differ for a while; it is never 0.
func (c *Config) Settings() uint64 {
	sum := c.hash(func(l leaf) bool { return l.live && !l.local })
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// hash is independent of the order of services and routes in the file.
func (c *Config) hash(counts func(leaf) bool) [32]byte {
	var lines []string
	for _, l := range c.leaves() {
		if counts(l) {
			lines = append(lines, fmt.Sprintf("%q = %q\n", l.key, l.value))
		}
	}
	slices.Sort(lines)
	h := sha256.New()
	h.Write([]byte(digestVersion))
	for _, line := range lines {
		h.Write([]byte(line))
	}
	return [32]byte(h.Sum(nil))
}
