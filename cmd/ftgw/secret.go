package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
)

func secretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret [FILE]",
		Short: "Make the secret that all nodes share",
		Long: `Secret writes a new FILE with 32 fresh random bytes, readable by its owner alone: one line, the
tag "ftgw-secret-1" and 64 hexadecimal digits. A file that is there already stays as it is. Without
a FILE the text is printed. Make it once and copy it to every node. A file with any other content
of 32 bytes or more is taken as the secret itself. It must not be readable by every user.`,
		Example: `  ftgw secret /etc/ftgw/secret
  (umask 077; ftgw secret > ./secret)`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return writeNew(args[0], config.NewSecret())
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.NewSecret())
			return err
		},
	}
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("write secret: %w (nodes may use it already; remove it first for another one)", err)
	}
	if err != nil {
		return fmt.Errorf("write secret: %w (name a file in a directory that this user may write)", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
