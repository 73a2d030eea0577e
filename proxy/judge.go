package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

// judge compares the peer's reply with the own one and, if they are the same, has that written in
// the place of a stored one.
func (h *shadow) judge(c *claim, own *mirrored) error {
	f := h.flow
	why := own.why
	if why == nil && c.RequestEnd != own.end {
		why = errors.New("the request ends elsewhere")
	}
	if why == nil && own.cfg != f.s.cfg() {
		why = errors.New("the settings have changed since it was made here")
	}
	none := why != nil
	if !none {
		why = own.differs(&c.likeness)
	}
	if why != nil {
		if n := f.s.count.differed.Add(1); n&(n-1) == 0 { // fewer and fewer of them
			f.s.cfg().Log.Warn("a reply is not as the peer made it; it is stored instead",
				"flow", f.id, "index", c.Index, "mode", own.mode, "why", why, "so_far", n)
		}
		if none {
			return ErrUnlike
		}
		if own.mode == config.Static {
			f.s.demote(own.route, why.Error())
		}
		return ErrDiffers
	}
	rec := stored{Record: c.Record, body: f.s.depot.newSpill(), mode: own.mode}
	rec.Kind, rec.Size = replication.KindReply, int64(len(c.head))+c.size
	_, err := rec.body.Write(c.head)
	if err == nil {
		_, err = rec.body.ReadFrom(own.w.content())
	}
	if err == nil {
		err = f.commit(rec)
	}
	if err != nil {
		rec.body.release()
		return err
	}
	f.s.count.mirrored.Add(1)
	return nil
}

// differs says how the own reply differs from what the peer says of its own, nil if it does not.
func (own *mirrored) differs(l *likeness) error {
	w := own.w
	if int(statusOf(l.head)) != w.status {
		return fmt.Errorf("status %d here, %d there", w.status, statusOf(l.head))
	}
	if own.mode == config.Static {
		if err := differingField(string(w.head[:w.bare]), string(l.head)); err != nil {
			return err
		}
	}
	switch {
	case l.size != w.carries():
		return fmt.Errorf("the body has %d bytes here, %d there", w.carries(), l.size)
	case l.sum != own.sum:
		return fmt.Errorf("the bodies of %d bytes differ", l.size)
	}
	return nil
}

// differingField names the first field in which two heads differ, without its value, which may be
// somebody's secret. Connection is not looked at: a
// host may have reasons of its own to end one.
func differingField(here, there string) error {
	a, b := strings.Split(here, "\r\n"), strings.Split(there, "\r\n")
	own := func(line string) bool { return strings.HasPrefix(line, "Connection:") }
	a, b = slices.DeleteFunc(a, own), slices.DeleteFunc(b, own)
	for i := range min(len(a), len(b)) { // both end in empty lines
		if a[i] != b[i] {
			name, _, _ := strings.Cut(a[i], ":")
			other, _, _ := strings.Cut(b[i], ":")
			if name != other {
				return fmt.Errorf("the heads differ: field %q here, %q there", name, other)
			}
			return fmt.Errorf("the heads differ in field %q", name)
		}
	}
	return nil
}
