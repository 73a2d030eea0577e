package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
)

// browser is a Chromium on a host, driven by its DevTools protocol over two pipes: objects, each
// ended by a zero byte.
type browser struct {
	t       *testing.T
	process *lab.Process
	in, out *os.File
	buffer  []byte
	last    int
	session string   // of its only tab
	errors  []string // that the page's console was told of
}

// browse starts Chromium on a host and opens a page.
func (x *cluster) browse(h *lab.Host, url string) *browser {
	x.Helper()
	chromium := tool(x.T, "chromium", "chromium")
	b := &browser{t: x.T}
	var err error
	for name, to := range map[string]**os.File{"devtools.in": &b.in, "devtools.out": &b.out} {
		path := filepath.Join(h.Dir, name)
		x.must(unix.Mkfifo(path, 0o666))
		*to, err = os.OpenFile(path, os.O_RDWR, 0) // for both, so that it does not wait for the other end
		x.must(err)
		x.Cleanup(func() { (*to).Close() })
	}
	command := []string{"/bin/sh", "-c", `exec "$@" 3<devtools.in 4>devtools.out`, "sh", chromium, "--headless=new", "--no-sandbox",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad", "--disable-background-networking", "--disable-component-update",
		"--no-first-run", "--no-proxy-server", "--user-data-dir=" + filepath.Join(h.Dir, "profile"), "--remote-debugging-pipe"}
	b.process, err = h.StartEnv("chromium", []string{"HOME=" + h.Dir}, contained(x.T, command...)...)
	x.must(err)
	x.Cleanup(func() { // it writes to its profile to the last
		b.in.Write([]byte(`{"id":0,"method":"Browser.close"}` + "\x00"))
		for end := time.Now().Add(10 * time.Second); !b.process.Exited() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	b.call("Runtime.enable", nil, nil)
	b.call("Log.enable", nil, nil)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	return b
}

// call asks for one thing and waits for the answer.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.last++
	if params == nil {
		params = struct{}{}
	}
	request := map[string]any{"id": b.last, "method": method, "params": params}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		text := b.read(deadline)
		if err := json.Unmarshal(text, &m); err != nil {
			b.t.Fatalf("%v: %q", err, text)
		}
		switch {
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded" && bytes.Contains(m.Params, []byte(`"level":"error"`)):
			b.errors = append(b.errors, string(m.Params))
		case m.ID != b.last:
		case m.Error != nil:
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		case result == nil:
			return
		default:
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v: %s", method, err, m.Result)
			}
			return
		}
	}
}

// read returns the next message.
func (b *browser) read(deadline time.Time) []byte {
	b.t.Helper()
	b.out.SetReadDeadline(deadline)
	chunk := make([]byte, 64<<10)
	for {
		if i := bytes.IndexByte(b.buffer, 0); i >= 0 {
			m := b.buffer[:i]
			b.buffer = b.buffer[i+1:]
			return m
		}
		n, err := b.out.Read(chunk)
		if err != nil {
			b.t.Fatalf("the browser does not answer: %v\n%s", err, b.process.Log())
		}
		b.buffer = slices.Concat(b.buffer, chunk[:n])
	}
}

// eval returns what an expression on the page is, as a text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails.Text)
	}
	return fmt.Sprint(r.Result.Value)
}

// picture stores a picture of the whole page, of that width, where FTGW_PICTURES says.
func (b *browser) picture(name string, width int, dark bool) {
	b.t.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	dir := os.Getenv("FTGW_PICTURES")
	if dir == "" {
		return
	}
	time.Sleep(300 * time.Millisecond) // a picture is for people
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
