package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

const (
	// shapeBurst is how much may leave at once, in bytes. It is below the 64 KiB that a kernel hands
	// on as one packet, so that tbf cuts those into segments, as a network card does on its wire:
	// with a larger one whole replies would pass a slow link in no time.
	shapeBurst = 6 << 10
	// shapeQueue is the time that a full queue takes to empty, in hundredths of a second: about what a
	// switch or a card holds.
	shapeQueue = 2
)

// Shape makes the host's cable carry so many bits a second in each direction, by a token bucket
// (tbf) at both ends. Reboot undoes it.
func (h *Host) Shape(bitsPerSecond uint64) error {
	for _, end := range []struct {
		ns   *NS
		name string
	}{{h.NS(), hostInterface}, {h.lab.Router.NS(), h.RouterPort()}} {
		err := end.ns.Do(func() error { return ShapeLink(end.name, bitsPerSecond) })
		if err != nil {
			return fmt.Errorf("shape the cable of %s: %w (the kernel needs sch_tbf)", h.Name, err)
		}
	}
	return nil
}

// ShapeLink is one end of Shape, for an interface of the calling thread's namespace.
func ShapeLink(name string, bitsPerSecond uint64) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	rate := bitsPerSecond / 8
	return netlink.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Buffer:     netlink.Xmittime(rate, shapeBurst),
		Limit:      uint32(rate*shapeQueue/100) + shapeBurst,
	})
}
