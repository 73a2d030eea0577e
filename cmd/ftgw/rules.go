package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
	"github.com/ftgw/ftgw/rules"
	"github.com/ftgw/ftgw/takeover/address"
)

func rulesCommand() *cobra.Command {
	var file fileFlags
	var install, remove, force bool
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print, install or remove the nftables rules of this node",
		Long: `Rules prints what run puts in force on this node, in the notation of nft: a table "ftgw" that
queues the segments of the advertised addresses and drops what nobody may send, and as comments
the ip rules behind it. It changes nothing and needs no rights. The Ethernet addresses of the
other nodes are not in it: run learns them. On a kernel without the queue expression of nftables
run uses the NFQUEUE target instead, which nft cannot load; the text is the same there.

With --install the rules are put in force without a daemon: nothing passes to or from the
advertised addresses until ftgw runs. With --remove they are taken away, with the ip rules and the
advertised addresses on lo, as after ftgw was removed from this host for good. Both may be
repeated. A running ftgw puts its rules back by itself, so --install leaves them to it, and
--remove refuses; --force is for one that hangs. The settings arp_ignore, arp_announce and
rp_filter of the interface stay as they are.

Exit codes: 0 done, or nothing to do; 1 failed, or ftgw runs; others as in ftgw --help.`,
		Example: `  ftgw rules
  ftgw rules --config ./ftgw.toml --name web-b > web-b.nft
  ftgw rules --install
  ftgw rules --remove`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := file.load()
			if err != nil {
				return err
			}
			switch {
			case install && remove:
				return codedError{exitUsage, errors.New("--install and --remove exclude each other")}
			case force && !remove:
				return codedError{exitUsage, errors.New("--force goes with --remove")}
			}
			out := cmd.OutOrStdout()
			spec, served := specOf(cfg)
			switch {
			case !served:
				_, err = fmt.Fprintf(out, "# node %s is a witness: it has no rules\n", cfg.Name)
			case install:
				err = installRules(out, cfg, spec)
			case remove:
				err = removeRules(out, cfg, spec, force)
			default:
				err = printRules(out, cfg, spec)
			}
			return err
		},
	}
	file.add(cmd)
	cmd.Flags().BoolVar(&install, "install", false, "put the rules in force; the addresses stay silent until ftgw runs")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the rules and the advertised addresses away")
	cmd.Flags().BoolVar(&force, "force", false, "with --remove: even while an ftgw seems to run")
	return cmd
}

// specOf returns the rules of the config's node, on its interface if that is known. It reports
// false for a witness.
func specOf(cfg *config.Config) (spec rules.Spec, served bool) {
	iface := cfg.Interface
	if iface == "" {
		iface, _, _ = address.InterfaceOf(cfg.Self().Address) // as on a host that only prints them
	}
	spec = rules.Spec{QueueBase: queueBase, Workers: cfg.Limits.WorkerCount(), MarkSend: markSend,
		MarkLocal: markLocal, Lease: cfg.Timing.Lease, Interface: iface}
	for _, g := range cfg.GroupsOf(cfg.Name) {
		for _, s := range g.Services {
			spec.Services = append(spec.Services, rules.Service{Advertised: s.Advertised,
				Own: cfg.Self().Address, Peers: peersOf(cfg, s), Forward: s.Forward})
		}
	}
	return spec, len(spec.Services) > 0 && !cfg.Self().Witness
}

// printRules writes the text for review.
func printRules(out io.Writer, cfg *config.Config, spec rules.Spec) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Rules of node %s, %s, as ftgw puts them in force (see ftgw rules --help).\n", cfg.Name, version())
	if k, err := rules.Probe(); err == nil && !k.Queue {
		b.WriteString("# This kernel has no queue expression: ftgw uses the xt target NFQUEUE instead, nft cannot load the lines with queue.\n")
	}
	if spec.Interface == "" {
		fmt.Fprintf(&b, "# %s is not on this host and interface is not set: the table of the interface is left out.\n", spec.Services[0].Own)
	}
	b.WriteString("# Behind them, for the day somebody flushes them:\n")
	for _, line := range rules.FenceText(spec) {
		b.WriteString("#   " + line + "\n")
	}
	b.WriteString("\n" + rules.Text(spec, rules.Kernel{Queue: true, Egress: true}))
	_, err := io.WriteString(out, b.String())
	return err
}

// installRules puts the rules in force, the fence first.
func installRules(out io.Writer, cfg *config.Config, spec rules.Spec) error {
	if err := privileged(); err != nil {
		return err
	}
	if runs := running(cfg, spec); runs != "" {
		_, err := fmt.Fprintf(out, "nothing changed: %s, which keeps its rules in force itself\n", runs)
		return err
	}
	if spec.Interface == "" {
		return fmt.Errorf("install the rules: no interface of this host has the address %s (set interface, or correct the node's address)", spec.Services[0].Own)
	}
	if err := rules.InstallFence(spec); err != nil {
		return err
	}
	b, err := rules.Open(spec)
	if err != nil {
		return err
	}
	defer b.Close()
	found, err := b.Restore()
	switch {
	case err != nil:
		return err
	case found == "":
		_, err = fmt.Fprintln(out, "the rules are in force already; the addresses stay silent until ftgw runs")
	default:
		_, err = fmt.Fprintln(out, "the rules are in force; the addresses stay silent until ftgw runs")
	}
	return err
}

// removeRules takes everything away: the addresses first, so that nobody answers for them
// without the rules.
func removeRules(out io.Writer, cfg *config.Config, spec rules.Spec, force bool) error {
	if err := privileged(); err != nil {
		return err
	}
	if runs := running(cfg, spec); runs != "" && !force {
		return fmt.Errorf("the rules stay: %s, which would put them back (stop it first; --force if it hangs)", runs)
	}
	if spec.Interface != "" {
		if _, err := net.InterfaceByName(spec.Interface); err != nil {
			spec.Interface = "" // removed already
		}
	}
	b, err := rules.Open(spec)
	if err != nil {
		return err
	}
	defer b.Close()
	there, err := b.Any()
	if err != nil {
		return err
	}
	var addrs []netip.Addr
	for _, s := range spec.Services {
		addrs = append(addrs, s.Advertised.Addr())
	}
	if err := errors.Join(address.Withdraw(addrs), rules.RemoveFence(spec), b.Remove()); err != nil {
		return err
	}
	said := "no rules were in force"
	if there {
		said = "the rules are removed"
	}
	_, err = fmt.Fprintln(out, said)
	return err
}

// running says which ftgw runs on this host with the config's socket, or with the same queues in
// the kernel; empty: none.
func running(cfg *config.Config, spec rules.Spec) string {
	if conn, err := net.DialTimeout("unix", cfg.Socket, time.Second); err == nil || errors.Is(err, unix.EACCES) {
		if err == nil {
			conn.Close()
		}
		return "ftgw runs, at " + cfg.Socket
	}
	if pid := queueHolder(spec.QueueBase); pid != "" {
		return fmt.Sprintf("queue %d is held by an ftgw (port ID %s)", spec.QueueBase, pid)
	}
	return ""
}

// queueHolder returns the netlink port, by default the process ID, that is bound to a queue;
// empty: nobody is. The columns are those of nfnetlink_queue's seq_show.
func queueHolder(queue uint16) string {
	text, err := os.ReadFile("/proc/net/netfilter/nfnetlink_queue")
	if err != nil {
		return "" // no module, no queue
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == fmt.Sprint(queue) {
			return f[1]
		}
	}
	return ""
}
