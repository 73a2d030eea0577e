// Command ftgw keeps an advertised address and its TCP connections alive through the death of
// either of the two hosts that serve it. Each subcommand is one file here; node.go joins the
// parts of a node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ftgw/ftgw/internal/defect"
)

func main() {
	if err := defect.MoveStderr(); err != nil {
		fmt.Fprintln(os.Stderr, "ftgw:", err)
		os.Exit(exitFailed)
	}
	// The signals stay caught: a demo in a user namespace gets Ctrl-C twice, from the terminal
	// and from its parent, and still has to clean up.
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code. A defect of its own goroutine ends in
// one line like any other error.
func execute(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintln(errOut, "ftgw: "+defect.Line(v))
			code = exitDefect
		}
	}()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	strict(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code, ended := err.(exitWith); ended {
		return int(code)
	}
	errOut.Write(visible(fmt.Appendf(nil, "ftgw: %v\n", err)))
	var coded codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

const rootHelp = `ftgw serves one advertised address from two hosts. Both hold every TCP connection; when
either dies, the other goes on where it stopped, and neither client nor web server notice
more than a pause.`

const rootExample = `  ftgw demo                              see both hosts die, on this machine, in a minute
  ftgw secret /etc/ftgw/secret           once; then copy the file to the other host
  ftgw check --config ftgw.toml          whatever would keep this node from serving
  ftgw run --config ftgw.toml            serve, on each host
  ftgw status                            who serves what, and is it protected`

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "ftgw",
		Short:         "TCP connections that survive the death of a host",
		Long:          rootHelp + "\n\n" + exitTable(),
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n") // as the command version prints it
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return codedError{exitUsage, fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), checkCommand(), rulesCommand(), statusCommand(), switchoverCommand(), drainCommand(), reloadCommand(), flowsCommand(), ledgerCommand(), routesCommand(), secretCommand(), demoCommand(),
		drillCommand(), benchCommand(), versionCommand(), labAppCommand(), manualCommand(), labLoadCommand(), labRelayCommand())
	return root
}

// strict has the commands that cobra brings along refuse what they do not know, as all others do.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if topic, _, err := root.Find(args); err != nil || topic == root {
					return knownCommand(root, args)
				}
				return nil
			}
		case "completion":
			c.Args, c.RunE = noArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
			for _, shell := range c.Commands() {
				shell.Args = noArgs
			}
		}
	}
}

// knownCommand refuses a first word that is no command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	remedy := "see ftgw --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		remedy = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return codedError{exitUsage, fmt.Errorf("there is no command %q (%s)", args[0], remedy)}
}

// atMostOne refuses more than one word after a command's flags.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return noArgs(cmd, args[1:])
	}
	return nil
}

// noArgs refuses words after a command's flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return codedError{exitUsage, fmt.Errorf("%s takes no %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())}
}

// codedError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string { return e.err.Error() }
func (e codedError) Unwrap() error { return e.err }

// exitWith ends the program with the code of a copy of it that has said everything already; it
// may be 0.
type exitWith int

func (e exitWith) Error() string { return fmt.Sprintf("ended with code %d", int(e)) }
