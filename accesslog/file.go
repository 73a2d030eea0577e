package accesslog

import (
	"bytes"
	"io"
)

// file is the log's file as Run has it: open, or opened at the next write.
type file struct {
	cfg     *Config
	to      io.WriteCloser // nil while not open
	torn    bool           // the latest write ended within a line
	failing bool           // and was said to be
}

// write returns how many of count lines were lost.
func (f *file) write(lines []byte, count uint64) (lost uint64) {
	if len(lines) == 0 {
		return 0
	}
	if f.to == nil {
		to, err := f.cfg.Open()
		if err != nil {
			f.failed("opening", err)
			return count
		}
		f.to = to
	}
	if f.torn {
		if _, err := io.WriteString(f.to, "\n"); err != nil {
			f.failed("writing to", err)
			return count
		}
		f.torn = false
	}
	n, err := f.to.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.failed("writing to", err)
		f.torn = n > 0 && lines[n-1] != '\n'
		return count - uint64(bytes.Count(lines[:n], []byte{'\n'}))
	}
	if f.failing {
		f.failing = false
		f.cfg.Log.Info("the access log is written again")
	}
	return 0
}

// reopen changes to a new file; the old one stays if there is none.
func (f *file) reopen() {
	to, err := f.cfg.Open()
	if err != nil {
		f.failed("opening", err)
		return
	}
	f.close()
	f.to, f.torn = to, false
}

func (f *file) close() {
	if f.to == nil {
		return
	}
	if err := f.to.Close(); err != nil {
		f.failed("closing", err)
	}
	f.to = nil
}

// failed says so once, until it works again.
func (f *file) failed(doing string, err error) {
	if !f.failing {
		f.failing = true
		f.cfg.Log.Warn(doing+" the access log failed, lines are lost; is the disk full or the directory gone?", "error", err)
	}
}
