package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
)

var (
	//go:embed page.html
	pageHTML []byte
	//go:embed page.css
	pageCSS []byte
	//go:embed page.js
	pageJS []byte
)

// page is one document with its style and script in it, and the policy that lets a browser take
// just these (CSP level 3, by their hashes).
type page struct {
	html   []byte
	policy string
}

func newPage() page {
	html := bytes.Replace(pageHTML, []byte("/*style*/"), pageCSS, 1)
	html = bytes.Replace(html, []byte("/*script*/"), pageJS, 1)
	return page{html, "default-src 'none'; script-src " + source(pageJS) + "; style-src " + source(pageCSS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

// source is the hash of an inline script or style, as a policy names it.
func source(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
