package replication

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// ALPN is the application protocol of both connections of a session.
const ALPN = "ftgw/1"

// ErrSecret is a peer that does not hold the cluster's key.
var ErrSecret = errors.New("replication: peer has another shared secret: copy the same secret_file to every node")

// TLSConfig returns the configuration for either end: TLS 1.3 only, both sides must prove the
// cluster key, no session tickets. Names, dates and authorities mean nothing here; the
// key is the whole identity, and which node it is the Hello says.
func TLSConfig(k Keys, server bool) *tls.Config {
	c := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		// Frames are batched before they come here; small TLS records would only cost.
		DynamicRecordSizingDisabled: true,
	}
	if k.cert != nil { // else the zero Keys, with which no handshake succeeds
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{k.cert}, PrivateKey: k.Identity}}
	}
	if server {
		c.ClientAuth = tls.RequireAnyClientCert
	} else {
		c.InsecureSkipVerify = true // VerifyConnection below is the whole check
	}
	own, err := x509.ParseCertificate(k.cert)
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err != nil || len(s.PeerCertificates) != 1 {
			return ErrSecret
		}
		theirs := s.PeerCertificates[0].RawSubjectPublicKeyInfo
		if subtle.ConstantTimeCompare(theirs, own.RawSubjectPublicKeyInfo) != 1 {
			return ErrSecret
		}
		if s.NegotiatedProtocol != ALPN {
			return errors.New("replication: peer does not offer protocol " + ALPN + ": install the same ftgw release on both hosts")
		}
		return nil
	}
	return c
}
