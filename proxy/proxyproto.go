package proxy

import (
	"encoding/binary"

	"github.com/ftgw/ftgw/rewrite"
)

// proxyHeader is the PROXY protocol's header, version 2, binary, for a connection that carries
// the requests of one client connection alone (HAProxy's proxy-protocol.txt, §2.2).
func proxyHeader(id rewrite.Key) []byte {
	const tcp4, tcp6 = 0x11, 0x21
	client, advertised := id.Client.Addr().Unmap(), id.Advertised.Addr().Unmap()
	family, size := byte(tcp6), 2*16+2*2
	if client.Is4() && advertised.Is4() {
		family, size = tcp4, 2*4+2*2
	}
	b := append(make([]byte, 0, 16+size), "\r\n\r\n\x00\r\nQUIT\n"...)
	b = append(b, 0x21, family) // version 2, PROXY
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	if family == tcp4 {
		b = append(append(b, client.AsSlice()...), advertised.AsSlice()...)
	} else {
		c, a := client.As16(), advertised.As16()
		b = append(append(b, c[:]...), a[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, id.Client.Port())
	return binary.BigEndian.AppendUint16(b, id.Advertised.Port())
}
