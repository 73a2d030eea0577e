// The epochs on disk: one file for all groups of a node.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ftgw/ftgw/takeover"
)

// epochFile keeps the last epoch that this node claimed for each group, across crashes of the
// host: the line "ftgw-epochs-1", then for each group its name and the number. One goroutine
// writes it.
type epochFile struct {
	path string
	last map[string]takeover.Epoch // by group; what is on disk
}

const (
	epochsFormat = "ftgw-epochs-1\n"
	epochFormat  = "%q %d\n"
)

// maxEpoch bounds what is believed: so many takeovers never were, and beyond it the next
// number would be lower than the last.
const maxEpoch = takeover.Epoch(1) << 62

func openEpochs(path string) (epochFile, error) {
	f := epochFile{path: path}
	if err := reserveFile(path, epochsFormat); err != nil {
		return f, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("read the epochs: %w", err)
	}
	if f.last, err = parseEpochs(string(text)); err != nil {
		return f, fmt.Errorf("read the epochs in %s: %w (restore the file; or remove it once other nodes serve)", path, err)
	}
	return f, nil
}

// parseEpochs takes only what formatEpochs writes, byte for byte: a number that was cut short
// would be a valid one.
func parseEpochs(text string) (map[string]takeover.Epoch, error) {
	lines, ok := strings.CutPrefix(text, epochsFormat)
	if !ok {
		return nil, fmt.Errorf("begins with %.40q, not with %q", text, epochsFormat)
	}
	all := map[string]takeover.Epoch{}
	for line := range strings.Lines(lines) {
		var name string
		var e takeover.Epoch
		if _, err := fmt.Sscanf(line, epochFormat, &name, &e); err != nil || e > maxEpoch {
			return nil, fmt.Errorf("line %.80q is no group and epoch", line)
		}
		all[name] = e
	}
	if formatEpochs(all) != text {
		return nil, fmt.Errorf("%.80q is not as this program writes it", lines)
	}
	return all, nil
}

func formatEpochs(all map[string]takeover.Epoch) string {
	var b strings.Builder
	b.WriteString(epochsFormat)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, epochFormat, name, all[name])
	}
	return b.String()
}

// write puts the epochs of some groups on disk, beside those of the others, before it returns.
func (f *epochFile) write(fresh map[string]takeover.Epoch) error {
	all := maps.Clone(f.last)
	maps.Copy(all, fresh)
	if err := replaceFile(f.path, formatEpochs(all)); err != nil {
		return err
	}
	f.last = all
	return nil
}
