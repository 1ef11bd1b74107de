// Package stdlog gives the standard logger back to the program.
//
// Caddy's package takes it when it is initialized: what a program prints by package log comes out as
// Caddy's JSON then, log.Fatal at the level info. That is right in Caddy, which does it again when it
// loads a configuration, and wrong in any other program that imports a module of Caddy's.
package stdlog

import "log"

// What the logger was before. Go initializes packages in the order of their import paths as far as their
// imports allow it (since Go 1.21), and this one imports nothing that Caddy does not.
var (
	writer = log.Writer()
	flags  = log.Flags()
	prefix = log.Prefix()
)

// Restore makes the logger what it was when this package was initialized. It is for the initialization
// of a package that imports Caddy's.
func Restore() {
	log.SetOutput(writer)
	log.SetFlags(flags)
	log.SetPrefix(prefix)
}
