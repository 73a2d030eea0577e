package replication

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func testKeys(t *testing.T, b byte) Keys {
	t.Helper()
	k, err := DeriveKeys(bytes.Repeat([]byte{b}, MinSecret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestDeriveKeys(t *testing.T) {
	if _, err := DeriveKeys(make([]byte, MinSecret-1)); err == nil || !strings.Contains(err.Error(), "ftgw secret") {
		t.Errorf("short secret: %v", err)
	}
	a, again, b := testKeys(t, 1), testKeys(t, 1), testKeys(t, 2)
	if !a.Identity.Equal(again.Identity) || !bytes.Equal(a.cert, again.cert) || a.ISS != again.ISS {
		t.Error("two hosts derive different keys from one secret")
	}
	seen := map[[32]byte]bool{}
	for _, k := range []Keys{a, b} {
		for _, v := range [][32]byte{[32]byte(k.Identity.Seed()), k.Gossip, k.ISS, k.Digest, k.ConfigDigest(nil), k.ConfigDigest([]byte("x"))} {
			if seen[v] {
				t.Error("two keys are alike")
			}
			seen[v] = true
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if s := fmt.Sprintf(verb, a); s != "keys(hidden)" {
			t.Errorf("%s shows %s", verb, s)
		}
	}
}

// shake runs a handshake and one byte each way over a pipe; the result is what each side
// knows once it has read.
func shake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	a, b := net.Pipe()
	end := func(c *tls.Conn, raw net.Conn) error {
		defer raw.Close()
		if err := c.Handshake(); err != nil {
			return err
		}
		return nil
	}
	done := make(chan error)
	go func() { done <- end(tls.Server(b, server), b) }()
	clientErr = end(tls.Client(a, client), a)
	return clientErr, <-done
}

func TestTLS(t *testing.T) {
	one, two := testKeys(t, 1), testKeys(t, 2)
	if c, s := shake(t, TLSConfig(one, false), TLSConfig(one, true)); c != nil || s != nil {
		t.Errorf("one secret: client %v, server %v", c, s)
	}
	if c, _ := shake(t, TLSConfig(one, false), TLSConfig(two, true)); !errors.Is(c, ErrSecret) {
		t.Errorf("another secret at the server: client %v, want ErrSecret", c)
	}
	careless := func(k Keys) *tls.Config {
		c := TLSConfig(k, false)
		c.VerifyConnection = nil
		return c
	}
	if _, s := shake(t, careless(two), TLSConfig(one, true)); !errors.Is(s, ErrSecret) {
		t.Errorf("a client that takes any server: server %v, want ErrSecret", s)
	}
	stolen := careless(two)
	stolen.Certificates[0].Certificate = [][]byte{one.cert} // the certificate is no secret, its key is
	if _, s := shake(t, stolen, TLSConfig(one, true)); s == nil {
		t.Error("the certificate alone was enough")
	}
	bare := careless(one)
	bare.Certificates = nil
	if _, s := shake(t, bare, TLSConfig(one, true)); s == nil {
		t.Error("a client without certificate got in")
	}
	old := careless(one)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, s := shake(t, old, TLSConfig(one, true)); s == nil {
		t.Error("TLS 1.2 got in")
	}
	silent := careless(one)
	silent.NextProtos = nil
	if _, s := shake(t, silent, TLSConfig(one, true)); s == nil {
		t.Error("a client without ALPN got in")
	}
	if _, s := shake(t, careless(Keys{}), TLSConfig(Keys{}, true)); s == nil {
		t.Error("keys that were never derived got in")
	}
}
