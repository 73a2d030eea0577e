package shim

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
)

// setTxChecksum is ETHTOOL_STXCSUM of linux/ethtool.h.
const setTxChecksum = 0x17

// Plain turns transmit checksum offload off, or on again, at both ends of a host's cable. With
// it goes segmentation offload: every frame is then no larger than the MTU and bears its whole
// checksum, as on a real wire. Reboot forgets it.
func Plain(router, h *lab.Host, on bool) error {
	err := errors.Join(offload(h, h.Interface(), !on), offload(router, h.RouterPort(), !on))
	if err != nil {
		return fmt.Errorf("checksum offload of the cable of %s: %w", h.Name, err)
	}
	return nil
}

type namespace interface{ Do(func() error) error }

func offload(ns namespace, name string, on bool) error {
	return ns.Do(func() error { return ethtoolSet(name, setTxChecksum, on) })
}

// ethtoolSet sets one boolean of an interface in the calling thread's namespace.
func ethtoolSet(name string, command uint32, on bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: command} // struct ethtool_value
	if on {
		value.data = 1
	}
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [16]byte
	}
	if len(name) >= len(request.name) {
		return unix.EINVAL
	}
	copy(request.name[:], name)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl SIOCETHTOOL "+name, errno)
	}
	return nil
}
