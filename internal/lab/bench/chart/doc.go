// Package chart is what `ftgw bench` shows its results with: the spread of a few values, tables of
// text and plots in SVG. It is pure: no clock, no file.
package chart
