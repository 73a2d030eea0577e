package main

import (
	"fmt"
	"strings"

	"github.com/ftgw/ftgw/internal/defect"
)

// The exit codes of all commands. Those from 64 on are the ones that sysexits.h gives such an end.
const (
	exitFailed  = 1
	exitUsage   = 64              // EX_USAGE
	exitNoReply = 69              // EX_UNAVAILABLE
	exitDefect  = defect.ExitCode // EX_SOFTWARE
	exitNoPerm  = 77              // EX_NOPERM
	exitConfig  = 78              // EX_CONFIG
)

// exitCodes says what each means; a command's own help says what 0 and 1 mean there.
var exitCodes = []struct {
	code  int
	means string
}{
	{0, "done"},
	{exitFailed, "not done, or the answer is no"},
	{exitUsage, "the command line is wrong"},
	{exitNoReply, "no ftgw answers at the socket"},
	{exitDefect, "a defect of ftgw itself; 2 where the Go runtime found it"},
	{exitNoPerm, "this user may not: capabilities are missing, or the socket is closed to it"},
	{exitConfig, "the config file or the secret is wrong or missing"},
}

func exitTable() string {
	var b strings.Builder
	b.WriteString("Exit codes of all commands:")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "\n  %-3d %s", e.code, e.means)
	}
	return b.String()
}
