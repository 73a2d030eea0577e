package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// designJSON is the object of DESIGN §6 in the order that the program writes it, with what
// this program adds to it.
const designJSON = `{"node":"web-a","version":"1","peers":[{"name":"web-b","state":"alive","rtt_us":90,"session":"203.0.113.12"}],` +
	`"services":[{"name":"shop","advertised":"192.0.2.100:80","role":"primary","mode":"duplex",` +
	`"owner":"web-b","epoch":3,"peer":"web-b","in_sync":true,"upstream":"healthy",` +
	`"flows":{"duplex":12,"simplex":0,"unprotected":0},` +
	`"exchanges":{"delivered":1042,"replayed":1,"reexecuted":2,"moved":0,"unprotected":0,"failed":0},` +
	`"exchanges_by_mode":{"logged":900,"sync_static":142,"static":0,"deferred":0,"unprotected":0,"static_logged":3,"mirrored":0,"mirrored_not":0},"if_peer_died_now":{"survive":12,"lost":0,"reexecute":1},` +
	`"last_takeover":{"epoch":3,"reason":"host_dead","at":"2026-01-02T03:04:05Z",` +
	`"steps":[{"name":"promote","at_ms":0.25},{"name":"announce","at_ms":1.5}]}}],` +
	`"drops":{"bad_checksum":2,"unknown_flow":7}}` + "\n"

const designTable = `node web-a, version 1

PEER   STATE  RTT   SESSION
web-b  alive  90µs  203.0.113.12

SERVICE  ADVERTISED      ROLE     MODE    OWNER  EPOCH  PEER   IN SYNC  UPSTREAM
shop     192.0.2.100:80  primary  duplex  web-b  3      web-b  yes      healthy

SERVICE  FLOWS  SIMPLEX  UNPROTECTED  DELIVERED  REPLAYED  REEXECUTED  MOVED  UNPROTECTED  FAILED  IF PEER DIED NOW
shop     12     0        0            1042       1         2           0      0            0       12 survive, 0 lost, 1 executed again

SERVICE  LOGGED  SYNC-STATIC  STATIC  DEFERRED  UNPROTECTED  STATIC STORED INSTEAD  AS BACKUP THE SAME  AS BACKUP NOT
shop     900     142          0       0         0            3                      0                   0

last takeover of shop: 2026-01-02T03:04:05Z, epoch 3, host_dead
  0.250 ms  promote
  1.500 ms  announce

DROPPED       COUNT
bad_checksum  2
unknown_flow  7
`

func designStatus() Status {
	return Status{
		Node: "web-a", Version: "1",
		Peers: []PeerStatus{{Name: "web-b", State: "alive", RTT: 90, Session: "203.0.113.12"}},
		Services: []ServiceStatus{{
			Name: "shop", Advertised: "192.0.2.100:80", Role: "primary", Mode: "duplex",
			Owner: "web-b", Epoch: 3, Peer: "web-b", InSync: true, Upstream: "healthy",
			Flows:     FlowCounts{Duplex: 12},
			Exchanges: ExchangeCounts{Delivered: 1042, Replayed: 1, Reexecuted: 2},
			Modes:     ModeCounts{Logged: 900, SyncStatic: 142, Instead: 3},
			IfDied:    Forecast{Survive: 12, Reexecute: 1},
			LastTakeover: &Takeover{
				Epoch: 3, Reason: "host_dead", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
				Steps: []TakeoverStep{{"promote", 0.25}, {"announce", 1.5}},
			},
		}},
		Drops: map[string]uint64{"unknown_flow": 7, "bad_checksum": 2},
	}
}

// serve answers at a new socket until the test ends.
func serve(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run", "ftgw.sock")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveSocket(ctx, l, answers{status: designStatus, ledger: designLedger, routes: designRoutes, reset: designReset})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func TestStatusThroughTheSocket(t *testing.T) {
	path := serve(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("socket mode %v, %v", info.Mode(), err)
	}
	for _, tt := range []struct {
		flag, want string
	}{{"--json=true", designJSON}, {"--json=false", designTable}} {
		var out, errOut bytes.Buffer
		if code := execute(t.Context(), []string{"status", "--socket", path, tt.flag}, &out, &errOut); code != 0 {
			t.Fatalf("exit code %d: %s", code, &errOut)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.flag, diff)
		}
	}
}

func TestSocketOfARunningNodeIsLeftAlone(t *testing.T) {
	path := serve(t)
	if _, err := listenSocket(path); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Fatalf("second node: %v", err)
	}
	if code := execute(t.Context(), []string{"status", "--socket", path}, new(bytes.Buffer), new(bytes.Buffer)); code != 0 {
		t.Error("the first node lost its socket")
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ftgw.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	again, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestSocketNeverReplacesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestSocketPathTaken(t *testing.T) {
	_, err := listenSocket("/proc/ftgw/ftgw.sock")
	if err == nil || !strings.Contains(err.Error(), "set socket in the config file") {
		t.Errorf("error without remedy: %v", err)
	}
}
