package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretThereAndBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(NewSecret()), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := ReadSecret(path)
	if err != nil || len(a) != MinSecret {
		t.Fatalf("%d bytes, %v", len(a), err)
	}
	if b, err := decodeSecret([]byte(NewSecret())); err != nil || bytes.Equal(a, b) {
		t.Errorf("a second secret: equal to the first, or %v", err)
	}
}

// TestSecretAsCredential: systemd's copy goes before the file, if it gave one of that name.
func TestSecretAsCredential(t *testing.T) {
	given, own := bytes.Repeat([]byte{1}, MinSecret), bytes.Repeat([]byte{2}, MinSecret)
	credentials, path := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for file, data := range map[string][]byte{filepath.Join(credentials, "secret"): given, path: own} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dir  string
		want []byte
	}{{"", own}, {credentials, given}, {t.TempDir(), own}} {
		t.Setenv(envCredentials, tt.dir)
		if got, err := ReadSecret(path); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("credentials in %q: secret %x, %v", tt.dir, got, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, MinSecret)
	for _, tt := range []struct {
		name string
		data []byte
		mode os.FileMode
		want string // part of the error; empty: none
	}{
		{"raw bytes", raw, 0o600, ""},
		{"group may read", raw, 0o640, ""},
		{"all may read", raw, 0o644, "chmod 600"},
		{"all may write", raw, 0o602, "chmod 600"},
		{"short", raw[:31], 0o600, "31 bytes, at least 32"},
		{"short digits", []byte("ftgw-secret-1 00ff\n"), 0o600, "2 bytes, at least 32"},
		{"bad digits", []byte("ftgw-secret-1 xy\n"), 0o600, "invalid byte"},
		{"empty", nil, 0o600, "0 bytes"},
		{"too large", make([]byte, maxSecretFile+1), 0o600, "not a file of at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, tt.data, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			_, err := ReadSecret(path)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := ReadSecret("/nonexistent/secret"); err == nil || !strings.Contains(err.Error(), "ftgw secret /nonexistent/secret") {
		t.Errorf("missing file: %v", err)
	}
}
