package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
)

func secretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Print a new secret file",
		Long: `Secret prints the text of a secret file with 32 fresh random bytes: one line, the tag
"ftgw-secret-1" and 64 hexadecimal digits. Make it once and copy it to every node. A file
with any other content of 32 bytes or more is taken as the secret itself. The file must not
be readable by every user.`,
		Example: `  (umask 077; ftgw secret > /etc/ftgw/secret)`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.NewSecret())
			return err
		},
	}
}
