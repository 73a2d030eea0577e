package config

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// The secret file is one line of text: the tag, which is the format's version, and the secret
// in hexadecimal digits. Any other content is the secret itself, byte for byte.
const secretTag = "ftgw-secret-1 "

// MinSecret is the length that a secret must have, in bytes.
const MinSecret = 32

// maxSecretFile bounds what is read, in bytes.
const maxSecretFile = 64 << 10

// NewSecret returns the text of a secret file with a fresh secret, line end included.
func NewSecret() string {
	var b [MinSecret]byte
	rand.Read(b[:]) // never fails
	return secretTag + hex.EncodeToString(b[:]) + "\n"
}

// envCredentials names the directory where systemd gives a unit copies of files that its user may
// not read (LoadCredential=).
const envCredentials = "CREDENTIALS_DIRECTORY"

// credential returns the copy of the file at path that systemd gave this process, by the last
// part of its name, or path itself where there is none.
func credential(path string) string {
	if dir := os.Getenv(envCredentials); dir != "" {
		given := filepath.Join(dir, filepath.Base(path))
		if _, err := os.Stat(given); err == nil {
			return given
		}
	}
	return path
}

// ReadSecret returns the secret in the file at path, or in the credential of that file's name where
// systemd gave this process one. It refuses a file that every user may read or write, since all
// keys between the nodes come from it.
func ReadSecret(path string) ([]byte, error) {
	path = credential(path)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w (make it once with: ftgw secret %s; then copy it to each node)", err, path)
	}
	if info.Mode().Perm()&0o006 != 0 {
		return nil, fmt.Errorf("read secret %s: mode %04o lets every user at it (chmod 600 %s)", path, info.Mode().Perm(), path)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFile {
		return nil, fmt.Errorf("read secret %s: not a file of at most %d bytes (make it with: ftgw secret)", path, maxSecretFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w (run as the file's owner, or as root; a systemd unit of another user is given it by LoadCredential=%s:%s)", err, filepath.Base(path), path)
	}
	secret, err := decodeSecret(data)
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w (make it with: ftgw secret)", path, err)
	}
	return secret, nil
}

func decodeSecret(data []byte) ([]byte, error) {
	secret := data
	if digits, ok := bytes.CutPrefix(data, []byte(secretTag)); ok {
		digits = bytes.TrimSpace(digits)
		secret = make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(secret, digits); err != nil {
			return nil, fmt.Errorf("after %q: %w", secretTag, err)
		}
	}
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("%d bytes, at least %d are needed", len(secret), MinSecret)
	}
	return secret, nil
}
