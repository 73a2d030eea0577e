package crashpoint

import (
	"bytes"
	"fmt"
	"os"
)

// Stopped reports whether a process stands still, as it does at a point that was hit. A
// process that is gone does not.
func Stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the name, which is in parentheses and may hold any byte.
	_, rest, found := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(") "))
	return found && len(rest) > 0 && rest[0] == 'T'
}
