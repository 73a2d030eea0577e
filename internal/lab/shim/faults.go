package shim

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ftgw/ftgw/internal/lab/capture"
)

// Faults say what becomes of the frames that pass, in each direction. Shares are in
// thousandths and drawn for each fault by itself.
type Faults struct {
	Duplicate int // go out twice
	Reorder   int // go out Late later, overtaken by what follows
	Corrupt   int // of the IPv4 frames have one bit wrong, anywhere behind the Ethernet header
	Late      time.Duration
	Delay     time.Duration // of every frame
	// Between, if not zero, leaves alone all frames but those from one of these to the other.
	Between [2]capture.MAC
}

// Counts is what a shim did.
type Counts struct {
	Frames, Duplicated, Reordered, Corrupted int
}

func (c Counts) add(d Counts) Counts {
	return Counts{c.Frames + d.Frames, c.Duplicated + d.Duplicated, c.Reordered + d.Reordered, c.Corrupted + d.Corrupted}
}

// Struck is how many frames came to harm. Every frame of a link that delays does.
func (c Counts) Struck() int { return c.Duplicated + c.Reordered + c.Corrupted }

// mill decides for one direction. It is not safe for concurrent use.
type mill struct {
	Faults
	rand   *rand.Rand
	counts Counts
	forged []capture.Segment // what a capture may take altered frames for
}

// out is a frame that goes on.
type out struct {
	frame []byte
	after time.Duration
}

// grind takes a frame, which it may keep, and returns what goes on instead.
func (m *mill) grind(frame []byte) []out {
	if !m.concerns(frame) {
		return []out{{frame, 0}}
	}
	m.counts.Frames++
	all := []out{{frame, m.Delay}}
	if m.draw(m.Duplicate) {
		m.counts.Duplicated++
		all = append(all, out{slices.Clone(frame), m.Delay})
	}
	if m.draw(m.Reorder) {
		m.counts.Reordered++
		all[0].after += m.Late
	}
	if m.draw(m.Corrupt) && m.corrupt(frame) {
		m.counts.Corrupted++
	}
	return all
}

func (m *mill) draw(share int) bool { return share > 0 && m.rand.IntN(1000) < share }

func (m *mill) concerns(frame []byte) bool {
	if m.Between == ([2]capture.MAC{}) {
		return true
	}
	if len(frame) < etherLength {
		return false
	}
	to, from := capture.MAC(frame[:6]), capture.MAC(frame[6:12])
	a, b := m.Between[0], m.Between[1]
	return to == a && from == b || to == b && from == a
}

const etherLength = 14

// corrupt flips one bit of an IPv4 packet; every checksum finds that. (ARP has none, and so is
// let alone: on a real wire the frame's own guards it.)
func (m *mill) corrupt(frame []byte) bool {
	if len(frame) <= etherLength || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return false
	}
	length := min(len(frame)-etherLength, int(binary.BigEndian.Uint16(frame[etherLength+2:])))
	if length == 0 {
		return false
	}
	before := slices.Clone(frame)
	frame[etherLength+m.rand.IntN(length)] ^= 1 << m.rand.IntN(8)
	if s, ok := capture.ParseFrame(frame); ok {
		if was, ok := capture.ParseFrame(before); !ok || was != s {
			m.forged = append(m.forged, s)
		}
	}
	return !bytes.Equal(before, frame)
}
