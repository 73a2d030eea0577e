package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "ftgw", version())
			return err
		},
	}
}

// release is the version of a packaged ftgw; the linker sets it.
var release string

// version returns the release, or the module's version, the commit it was built from and the Go release, as
// far as the build recorded them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	text := release
	if text == "" {
		text = info.Main.Version
	}
	if text == "" || text == "(devel)" {
		text = "development"
		if r := settings["vcs.revision"]; len(r) >= 12 {
			text += " " + r[:12]
		}
		if settings["vcs.modified"] == "true" {
			text += " modified"
		}
	}
	return text + " " + info.GoVersion
}
