package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ftgw/ftgw/config"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := write("secret", config.NewSecret())
	good := write("good.toml", `secret_file = "`+secret+`"
node = [{name = "web-a", address = "192.0.2.11"}, {name = "web-b", address = "192.0.2.12"}]
[[service]]
name = "shop"
advertised = "192.0.2.100:80"
nodes = ["web-a", "web-b"]
upstream = "127.0.0.1:8080"
route = [{suffix = ".png", methods = ["GET"], mode = "unprotected"}]
`)
	bad := write("bad.toml", "nme = 'x'\nnode = 3\n")
	for _, tt := range []struct {
		args string
		code int
		want string // part of what is printed
	}{
		{"", 0, "ftgw demo"},
		{"--help", 0, "Exit codes"},
		{"version", 0, "ftgw "},
		{"--version", 0, "ftgw " + version()},
		{"completion bash", 0, "complete "},
		{"completion", 0, "Available Commands"},
		{"completion tcsh", exitUsage, `completion takes no "tcsh"`},
		{"completion bash now", exitUsage, `completion bash takes no "now"`},
		{"help", 0, "Exit codes"},
		{"help status", 0, "UNSTORED"},
		{"help completion bash", 0, "bash"},
		{"help stat", exitUsage, "did you mean status?"},
		{"secret", 0, "ftgw-secret-1 "},
		{"secret " + dir + "/new", 0, ""},
		{"secret " + dir + "/new", exitFailed, "remove it first"},
		{"secret " + dir + "/none/new", exitFailed, "may write"},
		{"run --name web-b --config " + good + "2", exitConfig, "--config"},
		{"stat", exitUsage, "did you mean status?"},
		{"frobnicate", exitUsage, "ftgw --help"},
		{"drill --mode frobnicated", exitUsage, "write logged, sync-static, static"},
		{"drill --mode unprotected", exitUsage, "promises nothing that a drill could hold it to"},
		{"drill --mode static --only table2/primary-reply-stored --only nothing", exitUsage, "no scenario is named like"},
		{"drill --mode static --only partly-stored", exitUsage, "nothing to play"},
		{"drill --mode static --list", 0, "not played: in this mode"},
		{"run --bogus", exitUsage, "run --help"},
		{"run now", exitUsage, `takes no "now"`},
		{"run --config " + bad, exitConfig, "line 1: nme: unknown key; did you mean name?"},
		{"check --config " + bad, exitConfig, "line 2: node: is a number"},
		{"check --config " + dir + "/none", exitConfig, "--config"},
		{"check --files --name web-b --config " + good, 0, "service shop: 192.0.2.100:80, primary web-a, backup web-b"},
		{"check --files --json --name web-b --config " + good, 0, `"level":"ok","findings":[{"check":"config","level":"ok","what":"`},
		{"check --json --config " + bad, exitConfig, `{"check":"config","level":"fail","what":"line 1: nme: unknown key","remedy":"did you mean name?"}`},
		{"check --name web-b --config " + good, exitFailed, "no interface of this host has the address 192.0.2.12  — correct the node's"},
		{"rules --name web-b --config " + good, 0, "ip daddr 192.0.2.100 tcp dport 80 goto in4"},
		{"rules --name web-b --install --remove --config " + good, exitUsage, "exclude each other"},
		{"rules --force", exitConfig, "--config"},
		{"check --name web-c --config " + good, exitConfig, "one of web-a, web-b"},
		{"check --name web-b --config " + good + " --url http://shop/a/b.png?x", 0, "service shop: GET /a/b.png: unprotected (route suffix = \".png\", methods = [\"GET\"])"},
		{"check --name web-b --config " + good + " --url /a.png --method PUT", 0, "service shop: PUT /a.png: logged (no route"},
		{"check --name web-b --config " + good + " --url a.png", exitUsage, "is no path"},
		{"check --url /a --json --config " + good, exitUsage, "--url goes without --json"},
		{"check --method PUT --config " + good, exitUsage, "--method goes with --url"},
		{"status --every 2s --socket " + dir + "/none", exitUsage, "--every goes with --watch"},
		{"bench --list", 0, "figure3"},
		{"bench --list --json", exitUsage, "--list goes without --json"},
		{"drill --list --json", exitUsage, "--list goes without --json"},
		{"reload --timeout 0s --socket " + dir + "/none", exitUsage, "--timeout must be more than 0"},
		{"bench --only figure9", exitUsage, `there is no figure "figure9"; there are table3, `},
		{"bench --rounds -1", exitUsage, "--rounds must be"},
		{"bench --only table3 --out " + secret + "/below", exitUsage, "choose another --out"},
		{"bench table3", exitUsage, `takes no "table3"`},
		{"status --socket " + dir + "/none", exitNoReply, "ftgw run"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var out bytes.Buffer
			code := execute(t.Context(), strings.Fields(tt.args), &out, &out)
			if code != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tt.code, tt.want, &out)
			}
		})
	}
}

// What could not be written was not shown.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	config := filepath.Join("..", "..", "config", "ftgw.example.toml")
	path := serve(t)
	for _, args := range []string{"status", "status --json", "ledger", "ledger --json", "routes", "routes --json",
		"routes --reset shop", "routes --reset shop --json", "check --url / --name web-a --config " + config} {
		if !strings.HasPrefix(args, "check") {
			args += " --socket " + path
		}
		var errOut bytes.Buffer
		if code := execute(t.Context(), strings.Fields(args), full, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "no space") {
			t.Errorf("%s: exit code %d, %s", args, code, &errOut)
		}
	}
}

func TestCheckReadsTheSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.toml")
	text, err := os.ReadFile("../../config/ftgw.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("/etc/ftgw/secret"), []byte("/nonexistent/secret"), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := execute(t.Context(), []string{"check", "--config", path, "--name", "web-a"}, &out, &out); code != exitConfig {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

// Who lacks the capabilities hears that of run, and not of the directory that only root may make; of check,
// that he may not read the secret is not a mistake of the files.
func TestWithoutPrivileges(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "f.toml"), filepath.Join(dir, "secret")
	text, err := os.ReadFile("../../config/ftgw.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("/run/ftgw/ftgw.sock"), []byte("/proc/none/ftgw.sock"), 1)
	text = bytes.Replace(text, []byte("/etc/ftgw/secret"), []byte(secret), 1)
	for path, text := range map[string]string{path: string(text), secret: config.NewSecret()} {
		if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(secret, 0); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"run", exitNoPerm, "missing capabilities: NET_ADMIN NET_RAW"},
		{"check --files", 0, "skipped  secret  read secret: open " + secret + ": permission denied"},
	} {
		var out bytes.Buffer
		code := make(chan int)
		go func() { // ends with its thread, which has lost its capabilities for good
			runtime.LockOSThread()
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&header, &none[0]); err != nil {
				t.Error(err)
			}
			code <- execute(t.Context(), append(strings.Fields(tt.args), "--config", path, "--name", "web-a"), &out, &out)
		}()
		if got := <-code; got != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: exit code %d: %s", tt.args, got, &out)
		}
	}
}

// TestHelpTeaches holds every command that a user sees to an explanation and an example.
func TestHelpTeaches(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.Hidden && (c.Short == "" || c.Example == "" && c.Name() != "version") {
			t.Errorf("%s explains nothing or has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}

func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3 go1.26"},
		{debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"},
		}}, "development 0123456789ab modified go1.26"},
	} {
		if got := versionOf(&tt.info); got != tt.want {
			t.Errorf("version %q, want %q", got, tt.want)
		}
	}
}
