package main

import (
	"fmt"
	"os"

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
	if err := reserveFile(path, fmt.Sprintf(epochFormat, 0)); err != nil {
		return f, err
	}
	text, err := os.ReadFile(path)
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
