package main

import (
	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/replication"
)

const defaultConfig = "/etc/ftgw/ftgw.toml"

// fileFlags are the flags of every command that reads the config file.
type fileFlags struct {
	path, name string
}

func (f *fileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "config", defaultConfig, "the config `file`, the same on every node")
	cmd.Flags().StringVar(&f.name, "name", "", "this node's `name`, instead of the file's or the host's")
}

func (f *fileFlags) load() (*config.Config, error) {
	cfg, err := config.Load(f.path, f.name)
	if err != nil {
		return nil, codedError{exitConfig, err}
	}
	return cfg, nil
}

// readKeys returns the keys that come from the shared secret.
func readKeys(cfg *config.Config) (replication.Keys, error) {
	secret, err := config.ReadSecret(cfg.SecretFile)
	if err != nil {
		return replication.Keys{}, codedError{exitConfig, err}
	}
	return replication.DeriveKeys(secret)
}
