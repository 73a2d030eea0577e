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

	"github.com/ftgw/ftgw/state"
)

// designJSON is the object of DESIGN §6 in the order that the program writes it, with what
// this program adds to it.
const designJSON = `{"node":"web-a","version":"1","address":"192.0.2.11","started":"2026-01-02T03:00:00Z","at":"2026-01-02T03:04:10Z",` +
	`"peers":[{"name":"web-b","address":"192.0.2.12","state":"alive","rtt_us":90,"session":"203.0.113.12","sessions":1,"messages_dropped":0}],` +
	`"services":[{"name":"shop","advertised":"192.0.2.100:80","nodes":["web-a","web-b"],"role":"primary","mode":"duplex",` +
	`"owner":"web-b","epoch":3,"peer":"web-b","in_sync":true,"upstream":"healthy","why":"handed over by the peer",` +
	`"flows":{"duplex":12,"simplex":0,"unprotected":0,"relayed":0,"half_open":1,"closing":2},` +
	`"exchanges":{"delivered":1042,"replayed":1,"reexecuted":2,"moved":0,"unprotected":0,"failed":0,"running":1},` +
	`"exchanges_by_mode":{"logged":900,"sync_static":142,"static":0,"deferred":0,"unprotected":0,"static_logged":3,"mirrored":0,"mirrored_not":0},"if_peer_died_now":{"survive":12,"lost":0,"reexecute":1},` +
	`"replication":{"unstored_records":2,"unstored_bytes":12288,"lag_us":1250,"stored_records":1042,"stored_bytes":5000000,"store_time_us":300000,"refused_records":0,"unknown_connections":0},` +
	`"web_server":{"checks":250,"failed_checks":1,"lent":1,"idle":3,"waiting":0,"connects":9,"failed_connects":0,"reused":1033,"stale":0,"expired":5},` +
	`"bodies":{"memory_bytes":4096,"on_disk":0,"spilled":0,"spill_failures":0},"lease":{"held":true,"renewals":800,"failures":0},"fenced":0,` +
	`"last_takeover":{"epoch":3,"reason":"host_dead","at":"2026-01-02T03:04:05Z",` +
	`"steps":[{"name":"promote","at_ms":0.25},{"name":"announce","at_ms":1.5}]},"claims":1}],` +
	`"drops":{"bad_checksum":2,"never":0,"unknown_flow":7}}` + "\n"

const designTable = `node web-a, version 1, up 4m10s

PEER   ADDRESS     STATE  RTT   SESSION
web-b  192.0.2.12  alive  90µs  203.0.113.12

SERVICE  ADVERTISED      ROLE     MODE    OWNER  EPOCH  PEER   IN SYNC  UPSTREAM
shop     192.0.2.100:80  primary  duplex  web-b  3      web-b  yes      healthy

why shop is primary: handed over by the peer

SERVICE  FLOWS  SIMPLEX  UNPROTECTED  UNSTORED     LAG      IF PEER DIED NOW
shop     12     0        0            12 KiB in 2  1.25 ms  12 survive, 0 lost, 1 executed again

SERVICE  DELIVERED  REPLAYED  REEXECUTED  MOVED  UNPROTECTED  FAILED
shop     1042       1         2           0      0            0

SERVICE  LOGGED  SYNC-STATIC  STATIC  DEFERRED  UNPROTECTED  STATIC STORED INSTEAD  AS BACKUP THE SAME  AS BACKUP NOT
shop     900     142          0       0         0            3                      0                   0

last takeover of shop: 2026-01-02T03:04:05Z, epoch 3, host_dead
  0.250 ms  promote
  1.500 ms  announce

DROPPED       COUNT
bad_checksum  2
unknown_flow  7
`

func designStatus() state.Status {
	return state.Status{
		Node: "web-a", Version: "1", Address: "192.0.2.11",
		Started: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), At: time.Date(2026, 1, 2, 3, 4, 10, 0, time.UTC),
		Peers: []state.Peer{{Name: "web-b", Address: "192.0.2.12", State: "alive", RTT: 90, Session: "203.0.113.12", Sessions: 1}},
		Services: []state.Service{{
			Name: "shop", Advertised: "192.0.2.100:80", Nodes: []string{"web-a", "web-b"}, Role: "primary", Mode: "duplex",
			Owner: "web-b", Epoch: 3, Peer: "web-b", InSync: true, Upstream: "healthy", Why: "handed over by the peer",
			Flows:       state.FlowCounts{Duplex: 12, HalfOpen: 1, Closing: 2},
			Exchanges:   state.ExchangeCounts{Delivered: 1042, Replayed: 1, Reexecuted: 2, Running: 1},
			Modes:       state.ModeCounts{Logged: 900, SyncStatic: 142, Instead: 3},
			IfDied:      state.Forecast{Survive: 12, Reexecute: 1},
			Replication: state.Replication{Unstored: 2, UnstoredBytes: 12 << 10, Lag: 1250, Stored: 1042, StoredBytes: 5_000_000, StoreTime: 300_000},
			Web:         state.WebServer{Checks: 250, FailedChecks: 1, Lent: 1, Idle: 3, Connects: 9, Reused: 1033, Expired: 5},
			Bodies:      state.Bodies{Memory: 4096},
			Lease:       state.Lease{Held: true, Renewals: 800},
			Claims:      1,
			LastTakeover: &state.Takeover{
				Epoch: 3, Reason: "host_dead", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
				Steps: []state.TakeoverStep{{Name: "promote", AtMS: 0.25}, {Name: "announce", AtMS: 1.5}},
			},
		}},
		Drops: map[string]uint64{"unknown_flow": 7, "bad_checksum": 2, "never": 0},
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
