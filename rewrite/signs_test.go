package rewrite

import "testing"

// What a packet shows of the peer: a clone, that its daemon lives; an acknowledgment of bytes
// that this host's kernel has too, that a client gets what the peer sends.
func TestSignsOfThePeer(t *testing.T) {
	p, b := pair(t)
	iss, stamp := connect(t, p, b)
	p.kernel(0, clientISN+1, "0123456789")
	ack := func(end Seq, progress bool) {
		t.Helper()
		b.in(client(clientISN+1, end, ACK, stamp, ""))
		if b.o.FromPeer || b.o.Progress != progress {
			t.Errorf("backup: from the peer %v, progress %v, want %v", b.o.FromPeer, b.o.Progress, progress)
		}
		p.in(b.o.Clone)
		if !p.o.FromPeer || p.o.Progress {
			t.Errorf("primary: from the peer %v, progress %v", p.o.FromPeer, p.o.Progress)
		}
	}
	ack(iss+5, false) // nothing that the backup can judge: its kernel has sent nothing
	b.kernel(0, clientISN+1, "0123456789")
	ack(iss+5, false)
	ack(iss+11, true)
	ack(iss+11, false)
}
