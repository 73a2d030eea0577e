// Package capture records the TCP segments that pass an interface of any namespace, with the
// kernel's times, and says how many it missed: an oracle must not judge by a lossy capture.
package capture

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Namespace is where the interface is; *lab.NS and *lab.Host are such.
type Namespace interface{ Do(func() error) error }

// Options of a capture. The zero value will do.
type Options struct {
	Slots int    // frames that the ring holds while the reader is busy; 0 means 131072 (32 MiB)
	Pcap  string // file to write every frame to as well, its head at least; empty writes none
}

// Trace is what a capture saw.
type Trace struct {
	Interface string
	Segments  []Segment // in the order the kernel saw them
	Other     int       // frames that are no TCP segment
	Dropped   int       // frames lost because the reader was late
}

// Whole returns an error if the capture missed anything.
func (t Trace) Whole() error {
	if t.Dropped > 0 {
		return fmt.Errorf("capture on %s lost %d frames of %d (give it more slots)",
			t.Interface, t.Dropped, t.Dropped+len(t.Segments)+t.Other)
	}
	return nil
}

// Capture is a capture that runs until Stop.
type Capture struct {
	ring *ring
	pcap *pcapgo.Writer
	file *os.File
	buf  *bufio.Writer // before file
	done chan struct{}
	err  error // of the reader, set before done is closed
	stop sync.Once

	mu    sync.Mutex
	trace Trace
}

// Start captures from now on, in both directions.
func Start(ns Namespace, ifname string, o Options) (*Capture, error) {
	if o.Slots == 0 {
		o.Slots = 1 << 17
	}
	c := &Capture{done: make(chan struct{}), trace: Trace{Interface: ifname}}
	err := c.openPcap(o.Pcap)
	if err == nil {
		err = ns.Do(func() (err error) {
			c.ring, err = openRing(ifname, o.Slots)
			return err
		})
	}
	if err != nil {
		if c.file != nil {
			err = errors.Join(err, c.file.Close())
		}
		return nil, fmt.Errorf("capture on %s: %w", ifname, err)
	}
	go c.run()
	return c, nil
}

// Stop ends the capture and returns what it saw. Stopping twice returns the same.
func (c *Capture) Stop() (Trace, error) {
	c.stop.Do(func() {
		err := c.ring.stop()
		<-c.done
		_, dropped, statErr := c.ring.statistics()
		c.trace.Dropped = dropped
		c.err = errors.Join(c.err, err, statErr, c.ring.close())
		if c.file != nil {
			c.err = errors.Join(c.err, c.buf.Flush(), c.file.Close())
		}
	})
	if c.err != nil {
		return c.trace, fmt.Errorf("capture on %s: %w", c.trace.Interface, c.err)
	}
	return c.trace, nil
}

// Segments returns what has been seen so far, for a test that waits for something.
func (c *Capture) Segments() []Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trace.Segments[:len(c.trace.Segments):len(c.trace.Segments)]
}

func (c *Capture) openPcap(path string) (err error) {
	if path == "" {
		return nil
	}
	if c.file, err = os.Create(path); err != nil {
		return err
	}
	c.buf = bufio.NewWriterSize(c.file, 1<<20)
	c.pcap = pcapgo.NewWriterNanos(c.buf)
	return c.pcap.WriteFileHeader(65536, layers.LinkTypeEthernet)
}

// run reads until stop, and what is in the ring then.
func (c *Capture) run() {
	defer close(c.done)
	for more := true; more; {
		more, c.err = c.ring.wait()
		c.mu.Lock()
		c.ring.each(c.add)
		c.mu.Unlock()
	}
}

func (c *Capture) add(f frame) {
	if s, ok := ParseFrame(f.bytes); ok {
		s.Time, s.Outgoing = f.time, f.outgoing
		c.trace.Segments = append(c.trace.Segments, s)
	} else {
		c.trace.Other++
	}
	if c.pcap == nil || c.err != nil {
		return
	}
	c.err = c.pcap.WritePacket(gopacket.CaptureInfo{Timestamp: f.time, CaptureLength: len(f.bytes), Length: f.length}, f.bytes)
}
