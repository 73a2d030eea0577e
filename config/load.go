package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Load reads the file at path for the named node; an empty name leaves it to the file, and a
// file without one to the host name. The error names the file and wraps Errors when its
// content is wrong.
func Load(path, name string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w (%s)", err, readRemedy(err))
	}
	c, err := Parse(data, name)
	if err != nil {
		return nil, fmt.Errorf("config %s:\n%w", path, err)
	}
	return c, nil
}

// maxFile bounds what is read, in bytes, so that a device or somebody's disk image fills no memory.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %v", path, Bytes(maxFile))
	}
	return data, err
}

func readRemedy(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run as root, or as a member of the file's group"
	}
	return "name the file with --config"
}

// Parse is Load for a text that was read already. Its error is always Errors.
func Parse(data []byte, name string) (*Config, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors begin a file so
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return nil, syntaxError(err)
	}
	f := &findings{lines: keyLines(data)}
	c := Default()
	decodeTable(f, "", tree, reflect.ValueOf(&c).Elem())
	if name != "" {
		c.Name = name
	}
	if c.Name == "" && !f.has("name") {
		c.Name, _ = os.Hostname() // an empty name is found by check
	}
	c.fillForward()
	check(f, &c)
	if err := f.err(); err != nil {
		return nil, err
	}
	return &c, nil
}

// fillForward gives each service its default forwarding port. A port too high for the sum
// leaves 0, which check reports.
func (c *Config) fillForward() {
	for i := range c.Services {
		s := &c.Services[i]
		if sum := ForwardBase + int(s.Advertised.Port()); s.Forward == 0 && sum <= 65535 {
			s.Forward = uint16(sum)
		}
	}
}

func syntaxError(err error) Errors {
	e := Error{Problem: strings.TrimPrefix(err.Error(), "toml: "), Remedy: "correct the TOML here; what follows was not read"}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		e.Line, _ = at.Position()
		e.Key = strings.Join(at.Key(), ".")
	}
	return Errors{e}
}

// keyLines returns the line of every key and table header of a valid TOML text. Keys inside
// inline tables have the line of the key that holds the table.
func keyLines(data []byte) map[string]int {
	lines := make(map[string]int)
	counts := make(map[string]int) // elements seen of each array of tables
	table := ""
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		at := table
		if e.Kind != unstable.KeyValue {
			at = ""
		}
		line := 0
		for it := e.Key(); it.Next(); {
			n := it.Node()
			line = 1 + bytes.Count(data[:n.Raw.Offset], []byte("\n"))
			at = join(element(at, counts), string(n.Data))
			if _, seen := lines[at]; !seen {
				lines[at] = line
			}
		}
		switch e.Kind {
		case unstable.ArrayTable:
			counts[at]++
			at = element(at, counts)
			lines[at] = line
			table = at
		case unstable.Table:
			table = element(at, counts)
		}
	}
	return lines
}

// element returns the key of the newest element where key is an array of tables, else key.
func element(key string, counts map[string]int) string {
	if n := counts[key]; n > 0 {
		return index(key, n-1)
	}
	return key
}

func index(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
