package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	getFlags = 0x25    // ETHTOOL_GFLAGS of linux/ethtool.h
	flagLRO  = 1 << 15 // ETH_FLAG_LRO
)

// ethtoolFlags returns an interface's ETH_FLAG_ bits.
func ethtoolFlags(iface string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: getFlags} // struct ethtool_value
	request := struct {                                        // struct ifreq with ifr_data
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], iface)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); e != 0 {
		return 0, e
	}
	return value.data, nil
}
