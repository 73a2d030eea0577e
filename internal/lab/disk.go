package lab

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountStates gives each host the small file system that Options.StateBytes asks for, in a
// mount namespace of the thread that starts the lab's processes: nobody else sees it, and it
// is gone with the last of them.
func (l *Lab) mountStates() error {
	if l.options.StateBytes == 0 {
		return nil
	}
	err := l.spawn.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		for _, h := range l.Hosts() {
			if err := os.MkdirAll(h.StateDir(), 0o700); err != nil {
				return err
			}
			size := fmt.Sprintf("size=%d,mode=0700", l.options.StateBytes)
			if err := unix.Mount("state", h.StateDir(), "tmpfs", 0, size); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("mount small state directories: %w", err)
	}
	return nil
}
