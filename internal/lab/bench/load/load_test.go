package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve returns the address of a server whose replies have n bytes, and how many it was asked for.
func serve(t *testing.T, n int, before func(request int64)) (target string, connections, asked *atomic.Int64) {
	t.Helper()
	connections, asked = new(atomic.Int64), new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k := asked.Add(1); before != nil {
			before(k)
		}
		w.Header().Set("Content-Length", fmt.Sprint(n))
		w.Write(bytes.Repeat([]byte("x"), n))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), connections, asked
}

func TestClosedLoop(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprint("fresh ", fresh), func(t *testing.T) {
			target, connections, asked := serve(t, 100_000, nil)
			spec := Spec{Targets: []string{target}, Path: "/", Bytes: 100_000, Conns: 3, Fresh: fresh,
				Warm: 30 * time.Millisecond, For: 150 * time.Millisecond, Keep: 5, Watch: Watch{"here": {os.Getpid()}}}
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := Main(t.Context(), string(text), &out); err != nil {
				t.Fatal(err)
			}
			var o Outcome
			if err := json.Unmarshal(out.Bytes(), &o); err != nil {
				t.Fatal(err)
			}
			made := int(asked.Load())
			if o.Requests == 0 || o.Requests >= made {
				t.Errorf("%d of %d requests are measured, want all but those of the warm-up", o.Requests, made)
			}
			if got := int(connections.Load()); fresh && got != made || !fresh && got != 3 {
				t.Errorf("%d connections for %d requests", got, made)
			}
			if o.Mean <= 0 || o.Quantile(0.5) <= 0 || o.Quantile(1) < o.Quantile(0.5) || len(o.Series) != min(5, o.Requests) {
				t.Errorf("%+v", o)
			}
			if o.CPU["here"] <= 0 || o.CPU[Client] <= 0 || o.PerSecond() <= 0 {
				t.Errorf("processor time %v", o.CPU)
			}
		})
	}
}

// A service that stands still once makes all the requests late that were to be made meanwhile, not
// only those that were under way.
func TestNothingIsOmittedAtAFixedRate(t *testing.T) {
	const pause, rate = 400 * time.Millisecond, 250
	begin := time.Now()
	target, _, _ := serve(t, 10, func(int64) {
		if since := time.Since(begin); since > 300*time.Millisecond && since < 300*time.Millisecond+pause {
			time.Sleep(300*time.Millisecond + pause - since)
		}
	})
	begin = time.Now()
	o, err := Run(t.Context(), Spec{Targets: []string{target}, Path: "/", Bytes: 10, Conns: 2, Rate: rate, For: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if o.Requests < rate*9/10 || o.Requests > rate {
		t.Errorf("%d requests in a second, want %d", o.Requests, rate)
	}
	// Two fifths of the requests were due in the pause, half of those in its first half.
	if late := o.Quantile(0.9); late < 150 {
		t.Errorf("a tenth of the requests took more than %.0f ms, want at least 150: %+v", late, o.Quantiles)
	}
}

func TestFailuresEndIt(t *testing.T) {
	target, _, _ := serve(t, 10, nil)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, tt := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, "are needed"},
		{Spec{Targets: []string{target}, Path: "/", Bytes: 11, Conns: 1, For: time.Second}, "10 bytes instead of 11"},
		{Spec{Targets: []string{gone.Addr().String()}, Path: "/", Conns: 1, For: time.Second}, "refused"},
		{Spec{Targets: []string{target}, Path: "/", Bytes: 10, Conns: 1, For: time.Second, Watch: Watch{"a": {1 << 22}}}, "process 4194304 on a"},
	} {
		if _, err := Run(t.Context(), tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.spec, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Spec{Targets: []string{target}, Path: "/", Bytes: 10, Conns: 1, For: time.Minute}); err == nil {
		t.Error("it went on")
	}
}

func TestParseStat(t *testing.T) {
	idle, steal, err := parseStat("cpu  100 0 200 5000 50 1 2 30 0 0\ncpu0 1 2 3\n")
	if err != nil || idle != 50.5 || steal != 0.3 {
		t.Errorf("%v %v %v", idle, steal, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpux 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 x 5 6 7 8 9"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestQuantiles(t *testing.T) {
	m := &meter{}
	for i := range 1000 {
		m.took = append(m.took, float64(1000-i))
	}
	o := m.outcome(nil)
	for share, want := range map[float64]float64{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000, 0.9995: 1000} {
		if got := o.Quantile(share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if o.Mean != 500.5 || (Outcome{}).Quantile(0.5) != 0 {
		t.Errorf("mean %v", o.Mean)
	}
}

// FuzzReadReply: whatever a server says, the client neither panics nor hangs nor reads beyond the reply.
func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "HTTP/1.1 200 OK\r\ncontent-length:3\nConnection: close\r\n\r\nabc",
		"HTTP/1.1 502 Bad\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nab",
	} {
		f.Add([]byte(seed), int64(3))
	}
	f.Fuzz(func(t *testing.T, reply []byte, want int64) {
		in := bufio.NewReader(bytes.NewReader(reply))
		if readReply(in, want, true) != nil {
			return
		}
		if read := int64(len(reply) - in.Buffered()); want < 0 || len(reply) < 4096 && read <= want {
			t.Errorf("of %d bytes %d are taken for a reply with %d", len(reply), read, want)
		}
	})
}
