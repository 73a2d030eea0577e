package machine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// BuildImage fills an empty directory with a minimal Debian of this machine's release, with systemd and
// the packages. They come from the sources that apt has here. Root of one machine may log in
// on another by ssh if openssh-server is among them, and hosts name machines and their addresses, as in
// /etc/hosts.
func BuildImage(dir, hosts string, packages ...string) error {
	sources, release, err := sources()
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=Acquire::Languages \"none\"", "--dpkgopt=force-unsafe-io",
		"--include="+strings.Join(append(packages, "systemd-sysv"), ","), "--customize-hook="+strings.ReplaceAll(keys, "\n", ""),
		release, dir, "-")
	cmd.Stdin = strings.NewReader(sources)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build image: mmdebstrap: %w\n%s", err, out)
	}
	return os.WriteFile(filepath.Join(dir, "etc/hosts"), []byte("127.0.0.1 localhost\n"+hosts), 0o644)
}

// keys lets root in by ssh, from each machine of this image to each.
const keys = `
set -e; cd "$1"; [ -e etc/ssh/ssh_host_ed25519_key.pub ] || exit 0;
mkdir -p -m 700 root/.ssh;
ssh-keygen -q -t ed25519 -N "" -f root/.ssh/id_ed25519;
cp root/.ssh/id_ed25519.pub root/.ssh/authorized_keys;
echo "* $(cut -d " " -f 1-2 etc/ssh/ssh_host_ed25519_key.pub)" >root/.ssh/known_hosts`

// sources returns this machine's sources of Debian packages, as lines of sources.list, and the name
// of its release.
func sources() (lines, release string, err error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			release = name
		}
	}
	const one = "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
	out, err := exec.Command("apt-get", "indextargets", "--format", one, "Created-By: Packages").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask apt for its sources: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && slices.Contains([]string{release, release + "-updates", release + "-security"}, f[2]) {
			lines += line
		}
	}
	if lines == "" {
		return "", "", fmt.Errorf("apt has no source of packages for %q (see /etc/apt/sources.list)", release)
	}
	return lines, release, nil
}
