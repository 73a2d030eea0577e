package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/state"
)

// minEvery is the shortest time between two looks of --watch.
const minEvery = 100 * time.Millisecond

// watchStatus shows the status of the node at the socket until the command's context ends, which is
// how a watch ends well.
func watchStatus(cmd *cobra.Command, socket string, every time.Duration, asJSON bool) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	screen := openScreen(out, asJSON)
	defer screen.close()
	t := time.NewTicker(every)
	defer t.Stop()
	var last *state.Status
	for {
		text, err := fetch(cmd, http.MethodGet, socket, "status", nil)
		if ctx.Err() != nil {
			return nil
		}
		var coded codedError
		switch {
		case err == nil && asJSON:
			_, err = out.Write(text)
		case err == nil:
			last, err = screen.show(text, last)
		case errors.As(err, &coded) && coded.code == exitNoReply: // it may come, or come back
			last = nil
			err = screen.absent(err)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// screen is where a watch goes: a terminal, which is drawn over, or what takes one block after
// another. JSON leaves the blocks to the node.
type screen struct {
	out  io.Writer
	tty  *os.File // nil: no terminal
	json bool
	gone bool // nobody answered at the last look
}

// The sequences of a terminal (ECMA-48): the other screen, without a cursor; back; and what draws
// over what is there, so that nothing flickers.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	restOfLine  = "\x1b[K"
	restBelow   = "\x1b[J"
	bold        = "\x1b[1m"
	warned      = "\x1b[1;33m"
	plain       = "\x1b[0m"
)

func openScreen(out io.Writer, asJSON bool) *screen {
	s := &screen{out: out, json: asJSON}
	if f, ok := out.(*os.File); ok && !asJSON {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil && os.Getenv("TERM") != "dumb" {
			s.tty = f
			io.WriteString(out, enterScreen) // a terminal that is gone shows at the next write
		}
	}
	return s
}

func (s *screen) close() {
	if s.tty != nil {
		io.WriteString(s.out, leaveScreen)
	}
}

// show draws a status, with the rates since the last one.
func (s *screen) show(text []byte, last *state.Status) (*state.Status, error) {
	var now state.Status
	if err := json.Unmarshal(text, &now); err != nil {
		return nil, fmt.Errorf("read status: %w (is the node of the same version?)", err)
	}
	s.gone = false
	rates := map[string]state.Rate{}
	if last != nil {
		rates = state.Rates(last, &now)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, ", now.At.Local().Format(time.TimeOnly))
	if err := writeStatus(&b, now, rates); err != nil {
		return nil, err
	}
	return &now, s.draw(b.String())
}

// absent says that nobody answers: in a terminal for as long as that is so, else once.
func (s *screen) absent(why error) error {
	if s.tty == nil && s.gone {
		return nil
	}
	s.gone = true
	if s.json {
		return nil
	}
	return s.draw(fmt.Sprintf("%s, %v\nwaiting for it\n", time.Now().Format(time.TimeOnly), why))
}

func (s *screen) draw(text string) error {
	if s.tty == nil {
		_, err := fmt.Fprintf(s.out, "%s\n", text)
		return err
	}
	width, height := 80, 24
	if size, err := unix.IoctlGetWinsize(int(s.tty.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		width, height = int(size.Col), int(size.Row)
	}
	_, err := io.WriteString(s.out, frame(text, width, height))
	return err
}

// frame is a text for a terminal of so many columns and rows: what does not fit is cut, heads are
// bold, warnings stand out.
func frame(text string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > height {
		more := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… %d more lines", more))
	}
	var b strings.Builder
	b.WriteString(toTop)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		style := lineStyle(line)
		b.WriteString(style)
		b.WriteString(cut(line, width))
		if style != "" {
			b.WriteString(plain)
		}
		b.WriteString(restOfLine)
	}
	b.WriteString(restBelow)
	return b.String()
}

func lineStyle(line string) string {
	first, _, _ := strings.Cut(line, " ")
	switch {
	case strings.HasPrefix(line, "WARNING") || strings.HasPrefix(line, "PROBLEM") || strings.Contains(line, "no ftgw answers"):
		return warned
	case len(first) > 1 && first == strings.ToUpper(first) && first[0] >= 'A' && first[0] <= 'Z':
		return bold
	}
	return ""
}

// cut returns at most width characters of a line; all that ftgw prints are one column wide.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
