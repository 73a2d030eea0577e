package replication

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"time"
)

// MinSecret is the least length of the shared secret in bytes.
const MinSecret = 32

// Keys are all keys of a cluster, derived from its one shared secret by HKDF-SHA256
// (RFC 5869), each under a label of its own. Formatting or logging them shows nothing.
type Keys struct {
	Identity ed25519.PrivateKey // of the cluster's certificate: whoever holds it knows the secret
	Gossip   [32]byte           // encrypts membership's gossip
	ISS      [32]byte           // keys the hash that gives a flow its common ISS
	Digest   [32]byte           // keys the digest by which hosts compare their configs

	cert []byte // DER, self-signed by Identity, the same on every host
}

// DeriveKeys derives the keys. The secret is any MinSecret random bytes or more.
func DeriveKeys(secret []byte) (Keys, error) {
	if len(secret) < MinSecret {
		return Keys{}, fmt.Errorf("derive keys: the shared secret has %d bytes, at least %d needed: make one with `ftgw secret` and copy it to every node", len(secret), MinSecret)
	}
	var k Keys
	var seed [ed25519.SeedSize]byte
	for _, d := range []struct {
		label string
		into  []byte
	}{
		{"ftgw/1 tls identity", seed[:]},
		{"ftgw/1 gossip", k.Gossip[:]},
		{"ftgw/1 iss", k.ISS[:]},
		{"ftgw/1 config digest", k.Digest[:]},
	} {
		b, err := hkdf.Key(sha256.New, secret, nil, d.label, len(d.into))
		if err != nil {
			return Keys{}, fmt.Errorf("derive keys: %s: %w", d.label, err)
		}
		copy(d.into, b)
	}
	k.Identity = ed25519.NewKeyFromSeed(seed[:])
	var err error
	k.cert, err = certificate(k.Identity)
	return k, err
}

// certificate makes the cluster's certificate. Nobody checks its dates: clocks may be wrong
// when two hosts must find each other, and the key alone is the proof.
func certificate(key ed25519.PrivateKey) ([]byte, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ftgw cluster"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // "no end", RFC 5280 §4.1.2.5
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("derive keys: cluster certificate: %w", err)
	}
	return der, nil
}

// ConfigDigest returns the keyed digest of a config in canonical form.
func (k Keys) ConfigDigest(canonical []byte) [32]byte {
	h := hmac.New(sha256.New, k.Digest[:])
	h.Write(canonical)
	return [32]byte(h.Sum(nil))
}

// Format writes a placeholder for every verb, so that no key ends up in a log.
func (Keys) Format(f fmt.State, _ rune) { io.WriteString(f, "keys(hidden)") }

// LogValue returns a placeholder.
func (Keys) LogValue() slog.Value { return slog.StringValue("keys(hidden)") }
