// A program that uses the client and has a log of its own.
package main

import (
	"log"
	"log/slog"

	"github.com/caddy-dns/bestdns"
)

func main() {
	log.SetPrefix("program: ")
	log.Print("by log, with ", &bestdns.Provider{})
	slog.Info("by slog")
	log.Fatal("the end")
}
