package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
	"github.com/ftgw/ftgw/internal/lab/client"
)

// What a node says that its peer's death would mean is what it means; and each connection that is
// not protected is listed with the reason.
func TestForecast(t *testing.T) {
	x := start(t, lab.Options{}, lab.Config{Top: `metrics = "0.0.0.0:9901"`, Tail: "[timing]\nturn_over = \"0s\"\n"})
	duplex := x.opened("duplex", 1)
	x.must(x.A.Crash())
	x.until("b serves alone", 10*time.Second, func() bool { return x.service(x.B).Role == "sole" })
	alone := append(duplex, x.opened("alone", 2)...)
	x.forecast(x.B, lab.Forecast{Survive: 3})
	x.must(x.A.Reboot())
	x.app(x.A)
	x.node(x.A)
	x.duplex()
	shared := x.opened("shared", 2)
	x.forecast(x.A, lab.Forecast{Survive: 2, Lost: 3})
	alone[2].Close()
	x.forecast(x.A, lab.Forecast{Survive: 2, Lost: 2}) // it was told of the end
	alone = alone[:2]
	slow, err := x.client.Dial(t.Context())
	x.must(err)
	defer slow.Close()
	reply := make(chan client.Result, 1)
	go func() { reply <- slow.Do(context.Background(), client.Slow("slow", 3*time.Second)) }()
	x.forecast(x.A, lab.Forecast{Survive: 3, Lost: 2, Reexecute: 1})
	x.forecast(x.B, lab.Forecast{Survive: 5})

	reasons := map[string]string{}
	for _, f := range x.flows(x.B) {
		reasons[f.Client] = f.Mode + " " + f.Why
	}
	for i, c := range slices.Concat(alone, shared, []*client.Conn{slow}) {
		want := "duplex "
		switch {
		case i == 0:
			want = "simplex peer-lost"
		case i < len(alone):
			want = "simplex no-peer"
		}
		if got := reasons[c.LocalAddr().String()]; got != want {
			t.Errorf("connection %d is %q, want %q", i, got, want)
		}
	}
	held := slices.IndexFunc(x.flows(x.A), func(f flow) bool {
		return f.Client == slow.LocalAddr().String() && f.Part == "standby" && f.Request > 0
	})
	if held < 0 {
		t.Errorf("the standby does not hold the request: %+v", x.flows(x.A))
	}
	t.Run("metrics", func(t *testing.T) { x.metered(t) })
	x.must(x.B.Crash())
	x.until("a serves alone", 10*time.Second, func() bool { return x.service(x.A).Role == "sole" })
	if r := <-reply; !r.OK() {
		t.Error(r)
	}
	for i, c := range shared {
		if r := c.Do(t.Context(), client.Bytes(fmt.Sprintf("survives%d", i), 100)); !r.OK() {
			t.Error(r)
		}
	}
	for i, c := range alone {
		if r := c.Do(t.Context(), client.Bytes(fmt.Sprintf("lost%d", i), 100)); r.OK() {
			t.Errorf("connection %d was to be lost", i)
		}
	}
	if s := x.service(x.A); s.Exchanges.Reexecuted != 1 {
		t.Errorf("%d requests were executed again, 1 was foretold", s.Exchanges.Reexecuted)
	}
}

// opened opens connections and has each serve a request.
func (x *cluster) opened(name string, n int) (all []*client.Conn) {
	x.Helper()
	for i := range n {
		c, err := x.client.Dial(x.Context())
		x.must(err)
		x.Cleanup(func() { c.Close() })
		if r := c.Do(x.Context(), client.Bytes(fmt.Sprintf("%s%d", name, i), 2000)); !r.OK() {
			x.Fatal(r)
		}
		all = append(all, c)
	}
	return all
}

// forecast waits until a node says so.
func (x *cluster) forecast(h *lab.Host, want lab.Forecast) {
	x.Helper()
	var got lab.Forecast
	for deadline := time.Now().Add(15 * time.Second); got != want; time.Sleep(10 * time.Millisecond) {
		if got = x.service(h).IfDied; time.Now().After(deadline) {
			x.Fatalf("%s foretells %+v, want %+v\n%+v", h.Name, got, want, x.flows(h))
		}
	}
}

// flow is what the tests read of a connection in `ftgw flows --json`.
type flow struct {
	Client, Mode, Why, State, Part string
	Request                        uint64 `json:"unanswered_bytes"`
}

func (x *cluster) flows(h *lab.Host) []flow {
	x.Helper()
	out, err := exec.CommandContext(x.Context(), program, "flows", "--json", "--limit", "0", "--service", "web", "--socket", h.Socket()).Output()
	x.must(err)
	var l struct{ Services []struct{ Flows []flow } }
	x.must(json.Unmarshal(out, &l))
	return l.Services[0].Flows
}

// metered holds the metrics of a port that is open to the hosts' network to what the nodes do, and
// the port to the network: it is not there by the advertised address.
func (x *cluster) metered(t *testing.T) {
	text, err := get(x.Client, "http://"+x.A.Addr().String()+":9901/metrics")
	x.must(err)
	for _, line := range []string{
		`ftgw_flows{service="web",state="duplex"} 3`,
		`ftgw_forecast_flows{fate="lost",service="web"} 2`,
		`ftgw_role{role="backup",service="web"} 1`,
		`ftgw_peer_up{peer="b"} 1`,
		`ftgw_in_sync{service="web"} 1`,
		`ftgw_owner{service="web"} 0`,
		`ftgw_upstream_state{service="web",state="healthy"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("a does not say %s", line)
		}
	}
	for name, atLeast := range map[string]float64{`ftgw_drops_total{reason="not-speaker"}`: 1,
		`ftgw_packets_accepted_total{reason="ok"}`: 1} {
		if got := value(text, name); got < atLeast {
			t.Errorf("a says %s %v", name, got)
		}
	}
	text, err = get(x.Client, "http://"+x.B.Addr().String()+":9901/metrics")
	x.must(err)
	for name, atLeast := range map[string]float64{`ftgw_exchanges_total{outcome="delivered",service="web"}`: 4, `ftgw_takeovers_total{service="web"}`: 1,
		`ftgw_replication_stored_records_total{service="web"}`: 2, `ftgw_replication_store_seconds_total{service="web"}`: 1e-6,
		`ftgw_last_takeover_step_seconds{service="web",step="released"}`: 1e-6, `ftgw_lease_renewals_total{service="web"}`: 1,
		`ftgw_replication_unstored_records{service="web"}`: 0, `ftgw_upstream_connects_total{service="web"}`: 1} {
		if got := value(text, name); got < atLeast {
			t.Errorf("b says %s %v", name, got)
		}
	}
	if text, err := get(x.Client, "http://"+lab.AdvertisedIP+":9901/metrics"); err == nil {
		t.Errorf("the port answers by the advertised address: %.100s", text)
	}
}

// value returns a sample's value, -1 if it is not there.
func value(text, name string) float64 {
	_, rest, found := strings.Cut("\n"+text, "\n"+name+" ")
	v := -1.0
	if found {
		fmt.Sscan(rest, &v) // -1 stays where it is none
	}
	return v
}

// get fetches a URL from a host.
func get(from *lab.Host, url string) (string, error) {
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = from.Do(func() error {
			c, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
