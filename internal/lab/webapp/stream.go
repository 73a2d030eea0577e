package webapp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// events sends an event, its number from 0, at once and then each so many ms until the asker has
// gone, or as many as it wants.
func (a app) events(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.begin(w, r, "", 0); !ok {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	most := number(r, "n")
	for i := int64(0); most == 0 || i < most; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		if http.NewResponseController(w).Flush() != nil || !pause(r.Context(), max(1, number(r, "ms"))) {
			return
		}
	}
}

// echo switches to a protocol in which each side says what it likes and the server repeats it.
func (a app) echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "echo" {
		http.Error(w, "this needs Upgrade: echo", http.StatusUpgradeRequired)
		return
	}
	if _, ok := a.begin(w, r, "", 0); !ok {
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n%s: %s\r\n\r\n", HeaderHost, a.host)
	io.Copy(conn, rw) // ends with either side
}

// marked sends the execution's name over and over, so that each byte tells which execution it is of.
func (a app) marked(w http.ResponseWriter, r *http.Request) {
	size := number(r, "size")
	execution, ok := a.begin(w, r, "", size)
	if !ok || size < 0 {
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	block := strings.Repeat(execution+"\n", 1000)
	for left := size; left > 0; {
		n, err := io.WriteString(w, block[:min(left, int64(len(block)))])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}
