package config

// Hooks are shell commands that are run when something has happened to a service, as this node
// sees it; empty: none.
type Hooks struct {
	Takeover     string `toml:"takeover"`      // this node has claimed the advertised address
	Fenced       string `toml:"fenced"`        // another node has, so this one is silent
	Duplex       string `toml:"duplex"`        // both nodes hold new connections
	Simplex      string `toml:"simplex"`       // this node alone holds them
	UpstreamDown string `toml:"upstream_down"` // the web server here is unhealthy
	UpstreamUp   string `toml:"upstream_up"`   // it is healthy again
}
