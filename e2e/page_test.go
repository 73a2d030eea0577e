package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ftgw/ftgw/internal/lab"
)

const pageURL = "http://127.0.0.1:9901/"

// The page of the survivor shows a takeover while it is open, as a picture and in words, without
// being loaded again; at the width of a desk and of a telephone.
func TestPageShowsATakeover(t *testing.T) {
	tool(t, "chromium", "chromium")
	x := start(t, lab.Options{CongestionControl: "cubic"}, lab.Config{Witness: true})
	_, err := x.Witness.StartNode(program)
	x.must(err)
	wait := x.fixed("page", "")
	b := x.browse(x.B, pageURL)
	shows := func(what, expression, want string) {
		t.Helper()
		x.until(what, 20*time.Second, func() bool { return strings.Contains(b.eval(expression), want) })
	}
	shows("the page is live", `document.getElementById("live")?.textContent`, "live")
	shows("the title says that web is protected", "document.title", "web protected · ftgw b")
	shows("the witness is drawn", `document.querySelector("svg[role=img]")?.textContent`, "witness")
	shows("the page counts exchanges", `document.querySelector(".tiles")?.textContent`, "survive")
	b.eval(`window.opened = "once"`)
	b.picture("duplex-light", 1200, false)
	b.picture("duplex-dark", 1200, true)
	b.picture("duplex-phone", 375, false)
	narrow(b)
	for _, at := range []string{lab.AdvertisedIP, x.B.Addr().String()} { // a client has no way to it
		if text, err := get(x.Client, "http://"+at+":9901/"); err == nil {
			t.Errorf("the page is served at %s: %.100s", at, text)
		}
	}
	if text, err := get(x.Witness, pageURL+"metrics"); err != nil || !strings.Contains(text, `ftgw_role{role="witness",service="web"} 1`) {
		t.Errorf("the witness says: %v, %.200s", err, text)
	}
	x.must(x.A.Crash())
	shows("the change is told", `document.getElementById("seen")?.textContent`, "web: backup → sole")
	shows("the takeover is on the timeline", `document.querySelector(".takeover")?.textContent`, "announced")
	shows("the picture says who is gone", `document.querySelector("svg[role=img]")?.textContent`, "dead")
	shows("the title says so, too", "document.title", "web not protected")
	if got := b.eval("window.opened"); got != "once" {
		t.Error("the page was loaded again")
	}
	b.picture("sole-phone", 375, true)
	narrow(b)
	b.picture("sole-light", 1200, false)
	if len(b.errors) > 0 {
		t.Errorf("the browser complains: %s", b.errors)
	}
	wait()
	x.whole()
}

// narrow fails the test if the page is wider than its window.
func narrow(b *browser) {
	b.t.Helper()
	over, err := strconv.Atoi(b.eval("document.documentElement.scrollWidth - window.innerWidth"))
	if err != nil || over > 0 {
		b.t.Errorf("the page is %d points wider than the window: %v", over, err)
	}
}
