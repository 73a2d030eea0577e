package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ftgw/ftgw/takeover"
)

// epochFile keeps the last epoch that this node claimed, across crashes of the host: one line
// of text, "ftgw-epoch-1 NUMBER".
type epochFile struct {
	path string
	last takeover.Epoch // when it was opened
}

const epochFormat = "ftgw-epoch-1 %d\n"

// maxEpoch bounds what is believed: so many takeovers never were, and beyond it the next
// number would be lower than the last.
const maxEpoch = takeover.Epoch(1) << 62

func openEpochs(path string) (epochFile, error) {
	f := epochFile{path: path}
	if err := makeStateDir(filepath.Dir(path)); err != nil {
		return f, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read the epoch: %w", err)
	}
	_, err = fmt.Sscanf(string(text), epochFormat, &f.last)
	if err != nil || fmt.Sprintf(epochFormat, f.last) != string(text) || f.last > maxEpoch {
		return f, fmt.Errorf("read the epoch: %s holds %.40q, which is no epoch (restore the file; or remove it once the peer serves alone)", path, text)
	}
	return f, nil
}

// write puts e on disk before it returns.
func (f *epochFile) write(e takeover.Epoch) error {
	return replaceFile(f.path, fmt.Sprintf(epochFormat, e))
}

func makeStateDir(path string) error {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return fmt.Errorf("make state_dir: %w (set state_dir to a directory that this user may write)", err)
	}
	return nil
}

// replaceFile puts text on disk before it returns: a whole file or the old one, never half of
// it.
func replaceFile(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone after the rename
	_, err = tmp.WriteString(text)
	if err == nil {
		err = tmp.Sync()
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
