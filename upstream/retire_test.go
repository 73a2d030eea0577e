package upstream

import (
	"context"
	"errors"
	"testing"
)

// A retired pool turns everyone away at once, whoever waits or keeps a connection of his own too,
// lets exchanges end, and ends itself with the last.
func TestRetire(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, answer)
	p := NewPool(PoolConfig{Address: address(t, l), Total: 3, IdleTime: 4})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	lent, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own, err := p.Fresh(t.Context(), []byte("preface\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	third, err := p.Fresh(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := p.Get(context.Background())
		waited <- err
	}()
	eventually(t, "one waits", func() bool { return p.Stats().Waiting == 1 })
	p.Retire()
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("who waited got %v", err)
	}
	if _, err := p.Fresh(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("who came later got %v", err)
	}
	if own.Again() {
		t.Error("a connection of one client's own goes on")
	}
	own.Discard()
	third.Discard()
	if _, err := lent.Write([]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := lent.Reader().ReadString('\n'); err != nil || line == "" {
		t.Fatalf("%q, %v", line, err)
	}
	select {
	case <-ended:
		t.Fatal("the pool ended before its last exchange")
	default:
	}
	lent.Put()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Lent+s.Idle != 0 {
		t.Errorf("%+v", s)
	}
}
