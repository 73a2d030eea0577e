// The manual pages: one for each command, from its help, and one for the config file, from the
// example in which every key is explained.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/ftgw/ftgw/config"
)

func manualCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "manual DIRECTORY",
		Short:  "Write the manual pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return writeManual(cmd.Root(), args[0]) },
	}
}

// writeManual writes the pages into a directory. Their date is that of SOURCE_DATE_EPOCH, else
// today.
func writeManual(root *cobra.Command, dir string) error {
	root.DisableAutoGenTag = true
	date := time.Now()
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0).UTC()
	}
	header := &doc.GenManHeader{Section: "1", Source: "ftgw " + release, Manual: "ftgw", Date: &date}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write manual pages: %w (name a directory that is there)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ftgw.toml.5"), []byte(filePage(date)), 0o644); err != nil {
		return fmt.Errorf("write manual page: %w", err)
	}
	return nil
}

const filePageHead = `.SH NAME
ftgw.toml \- the config file of ftgw
.SH SYNOPSIS
/etc/ftgw/ftgw.toml
.SH DESCRIPTION
One file, the same on every node. Its format is TOML 1.0. Durations are strings such as "10ms",
"1.5s" or "1m", sizes such as "64KiB" or "1MiB". Every key has a default, except those that are
marked as needed; the values below are the defaults, or examples where a key has none.
.PP
.BR ftgw\-check (1)
lists every mistake with its line, its key and the remedy. Nodes whose files differ in more than the
local keys do not become a pair.
`

const filePageTail = `.SH FILES
.TP
.I /etc/ftgw/secret
What all nodes share; made once by
.BR ftgw\-secret (1),
mode 0600. The systemd unit gives the daemon a copy of it, so that its user need not read it.
.TP
.I /var/lib/ftgw
Epochs, a witness' grants, access logs with relative paths, and bodies that do not fit in memory, which
have no name. After a defect,
.I crash.old
is the report to send to the authors.
.TP
.I /usr/share/doc/ftgw/examples
This file with every key, and the file of two hosts that serve two addresses.
.SH SEE ALSO
.BR ftgw (1),
.BR ftgw\-run (1),
.BR ftgw\-check (1)
`

// Lines of the example: a table's header, a key that may be commented out, more of its explanation.
var (
	exampleTable = regexp.MustCompile(`^(\[+[a-z.]+\]+)(?: +# (.*))?$`)
	exampleKey   = regexp.MustCompile(`^(?:# )?([a-z_]+) *= (.*?)(?: +# (.*))?$`)
	exampleMore  = regexp.MustCompile(`^ +# (.*)$`)
)

// filePage is the page of the config file.
func filePage(date time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH FTGW.TOML 5 %q %q ftgw\n%s.SH \"TOP OF THE FILE\"\n", date.Format("2006-01-02"), "ftgw "+release, filePageHead)
	table, seen := "", map[string]bool{}
	for line := range strings.Lines(config.Example) {
		line = strings.TrimRight(line, "\n")
		if m := exampleTable.FindStringSubmatch(line); m != nil {
			if table = m[1]; !seen[table] {
				fmt.Fprintf(&b, ".SH %s\n%s\n", roff(table), roff(m[2]))
			}
			seen[table] = true
		} else if m := exampleKey.FindStringSubmatch(line); m != nil && !seen[table+m[1]] {
			seen[table+m[1]] = true
			fmt.Fprintf(&b, ".TP\n.BR %s \" = %s\"\n%s\n", m[1], strings.ReplaceAll(roff(m[2]), `"`, `\(dq`), roff(m[3]))
		} else if m := exampleMore.FindStringSubmatch(line); m != nil {
			fmt.Fprintln(&b, roff(m[1]))
		}
	}
	b.WriteString(filePageTail)
	return b.String()
}

// roff protects what roff would read as its own.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
