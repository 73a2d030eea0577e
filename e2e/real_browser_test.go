package e2e

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"image"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/internal/lab"
)

// A host dies while Chromium loads a page; the page finds all its parts complete.
func TestRealBrowser(t *testing.T) {
	for _, tt := range []struct {
		name   string
		victim func(*cluster) *lab.Host
	}{
		{"primary", func(x *cluster) *lab.Host { return x.A }},
		{"backup", func(x *cluster) *lab.Host { return x.B }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			browser := tool(t, "chromium", "chromium")
			x := startReal(t, nginx(), page())
			x.settled()
			p := x.run(contained(t, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
				"--disable-breakpad", "--disable-background-networking", "--disable-component-update", "--no-first-run",
				"--no-proxy-server", "--window-size=800,4000", "--user-data-dir="+filepath.Join(x.Client.Dir, "profile"),
				"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE "+lab.AdvertisedIP, "--virtual-time-budget=20000", "--dump-dom", url("/index.html"))...)
			x.strike(tt.victim(x), x.served(x.A, images/3), p)
			log := x.ended(p)
			_, title, _ := strings.Cut(log, "<title>")
			title, _, _ = strings.Cut(title, "</title>")
			if want := fmt.Sprintf("%d images, style applied, fetched %s %s", images, sum(incompressible("one", fetched)), sum(incompressible("two", fetched))); title != want {
				t.Errorf("the page says %q, want %q", title, want)
			}
			x.unbroken()
		})
	}
}

// settled waits until the client's link-local IPv6 address is beyond duplicate address detection: a
// browser gives its requests up when an address changes.
func (x *cluster) settled() {
	x.Helper()
	x.until("the client's addresses are settled", 10*time.Second, func() bool {
		var addresses []netlink.Addr
		x.must(x.Client.Do(func() error {
			link, err := netlink.LinkByName(x.Client.Interface())
			if err == nil {
				addresses, err = netlink.AddrList(link, netlink.FAMILY_V6)
			}
			return err
		}))
		return !slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 })
	})
}

const (
	images  = 40
	fetched = 300_000 // bytes of each fetch()
)

// page is a page with a style, a script, images and data, all of which take their time. Its script
// writes into the title what became of them.
func page() site {
	var html strings.Builder
	html.WriteString("<!DOCTYPE html><title>loading</title><link rel=stylesheet href=style.css><script src=check.js></script>\n")
	s := site{"slow/one": incompressible("one", fetched), "slow/two": incompressible("two", fetched),
		"style.css": []byte("img { width: 77px }\n" + strings.Repeat("/* a long style */\n", 5000)),
		"check.js":  []byte(check)}
	for i := range images {
		name := fmt.Sprintf("slow/%d.png", i)
		s[name] = picture(name)
		fmt.Fprintf(&html, "<img src=%s>\n", name)
	}
	s["index.html"] = []byte(html.String())
	return s
}

// check has a digest of its own, since browsers have theirs only where there is TLS.
const check = `
async function sum(path) {
	const reply = await fetch(path);
	let h = 2166136261;
	const data = new Uint8Array(await reply.arrayBuffer());
	for (const b of data) h = Math.imul(h ^ b, 16777619) >>> 0;
	return reply.status + ":" + data.length + ":" + h;
}
const sums = Promise.all([sum("slow/one"), sum("slow/two")]);
window.onload = async () => {
	const all = [...document.images];
	const good = all.filter(i => i.complete && i.naturalWidth === 100 && i.naturalHeight === 100).length;
	const style = all.every(i => i.width === 77) ? "style applied" : "no style";
	document.title = await sums.then(
		([a, b]) => good + " images, " + style + ", fetched " + a + " " + b,
		e => "fetch failed: " + e);
};
`

// sum is what the script says of data: status, length and FNV-1a.
func sum(data []byte) string {
	h := fnv.New32a()
	h.Write(data)
	return fmt.Sprintf("200:%d:%d", len(data), h.Sum32())
}

// picture is an image of 100 by 100 points, of some 30 kB.
func picture(name string) []byte {
	m := image.NewRGBA(image.Rect(0, 0, 100, 100))
	copy(m.Pix, incompressible(name, len(m.Pix)))
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255 // opaque
	}
	var b bytes.Buffer
	png.Encode(&b, m) // a Buffer takes all
	return b.Bytes()
}
