package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strconv"

	"github.com/ftgw/ftgw/rewrite"
)

// transactionID names an exchange for the upstream, the same on both hosts.
func transactionID(id rewrite.FlowID, index uint64) string {
	b := make([]byte, 0, 64)
	for _, ap := range [...]interface{ AppendBinary([]byte) ([]byte, error) }{id.Client, id.Advertised} {
		b, _ = ap.AppendBinary(b) // never fails
	}
	b = binary.BigEndian.AppendUint32(b, uint32(id.ISN))
	b = binary.BigEndian.AppendUint64(b, index)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// outgoing writes the head of the upstream's request: the client's fields as they were spelt and
// in their order, without those of the client's hop, then what is added here.
func (x *executor) outgoing(head *bytes.Buffer, r *request, attempt uint8) {
	cfg := x.cfg
	host := x.hostOf(r)
	writeLine(head, r.method, " ", r.target, " HTTP/1.1\r\nHost: ", host)
	for i := range r.header {
		f := &r.header[i]
		if r.options.drops(f.name) {
			continue
		}
		switch f.kind {
		case kindEndToEnd, kindLate, kindDate:
			writeField(head, f.name, f.value)
		case kindKey:
			if f.value != "" {
				writeField(head, f.name, f.value)
			}
		case kindMaxForwards:
			writeField(head, f.name, oneLess(r.method, f.value))
		case kindForwarded, kindForwardedFor, kindForwardedHost, kindForwardedProto:
			if cfg.Forwarding.of(f.kind) == Off {
				writeField(head, f.name, f.value)
			}
		}
	}
	writeVia(head, cfg.Via, r.minor)
	cfg.Forwarding.write(head, r, x.flow.id.Client.Addr(), host)
	if r.clientKey() == "" { // DESIGN §4
		writeField(head, "Idempotency-Key", transactionID(x.flow.id, x.index))
	}
	writeField(head, "Ftgw-Attempt", strconv.Itoa(int(attempt)))
	if r.upgrade != "" { // RFC 9110 §7.8
		writeField(head, "Upgrade", r.upgrade)
		head.WriteString("Connection: Upgrade\r\n")
	}
	r.header.list(kindTE, func(coding string) bool {
		if equalFold(coding, "trailers") && r.upgrade == "" { // they come through, RFC 9110 §10.1.4
			head.WriteString("TE: trailers\r\nConnection: TE\r\n")
			return false
		}
		return true
	})
	switch {
	case len(r.trailer) > 0:
		head.WriteString("Transfer-Encoding: chunked\r\n")
		writeField(head, "Trailer", r.trailer.names())
	case r.body != nil:
		writeField(head, "Content-Length", strconv.FormatInt(r.body.Len(), 10))
	case r.length == 0 || r.method == http.MethodPost || r.method == http.MethodPut || r.method == http.MethodPatch:
		head.WriteString("Content-Length: 0\r\n") // RFC 9110 §8.6
	}
	head.WriteString("\r\n")
}

// oneLess counts Max-Forwards down where it is to be (RFC 9110 §7.6.2).
func oneLess(method, hops string) string {
	n, err := strconv.ParseUint(hops, 10, 64)
	if method != http.MethodOptions || err != nil || n == 0 {
		return hops
	}
	return strconv.FormatUint(n-1, 10)
}

func writeLine(head *bytes.Buffer, parts ...string) {
	for _, p := range parts {
		head.WriteString(p)
	}
	head.WriteString("\r\n")
}

func writeField(head *bytes.Buffer, name, value string) { writeLine(head, name, ": ", value) }

// writeVia says that a message which came in HTTP/1.minor passed here (RFC 9110 §7.6.3).
func writeVia(head *bytes.Buffer, pseudonym string, minor int) {
	if pseudonym != "-" {
		writeLine(head, "Via: 1.", strconv.Itoa(minor), " ", pseudonym)
	}
}

// chunkEnds returns what stands before and after a body that is sent as one chunk.
func chunkEnds(size int64, trailer header) (before, after []byte) {
	var b bytes.Buffer
	if size > 0 {
		before = append(strconv.AppendInt(nil, size, 16), "\r\n"...)
		b.WriteString("\r\n")
	}
	b.WriteString("0\r\n")
	for _, f := range trailer {
		writeField(&b, f.name, f.value)
	}
	b.WriteString("\r\n")
	return before, b.Bytes()
}
