package upstream

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestLive: a reply that comes bit by bit may be silent for as long as it likes, and the next
// exchange on the connection may not.
func TestLive(t *testing.T) {
	const short = 30 * time.Millisecond
	l := listen(t, "tcp")
	speak := make(chan struct{})
	serve(t, l, func(_ int, c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		io.WriteString(c, "a")
		<-speak
		io.WriteString(c, "b")
		io.Copy(io.Discard, c)
	})
	p := newPool(t, PoolConfig{Address: address(t, l), Patience: short})
	c, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "?")
	if b, err := c.Reader().ReadByte(); b != 'a' || err != nil {
		t.Fatal(b, err)
	}
	raw, err := c.Live()
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(3*short, func() { close(speak) })
	defer late.Stop()
	if b, err := c.Reader().ReadByte(); b != 'b' || err != nil {
		t.Fatal(b, err)
	}
	c.Put()
	again, err := p.Get(t.Context())
	if err != nil || again != c || !again.Reused() {
		t.Fatal(again, err)
	}
	if _, err := again.Reader().ReadByte(); !isTimeout(err) {
		t.Errorf("silence in the exchange after it: %v", err)
	}
	if err := raw.(*net.TCPConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	again.Discard()
}

func isTimeout(err error) bool {
	late, ok := err.(net.Error)
	return ok && late.Timeout()
}
