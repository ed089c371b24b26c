// Command generate builds the web page: page/src becomes page/dist. Run it with `make page`, or with go run ./page/generate
// in the folder of the module.
//
// Node and npm (20.19 or newer) must be in PATH. The npm packages are those of page/package-lock.json; they are installed
// once for each content of that file, in the user's cache, which page/node_modules then leads to, so that checkouts share them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	folder := flag.String("page", "page", "folder of the page's sources")
	out := flag.String("out", "", "folder to write to; dist in the folder of the sources unless told")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := build(ctx, *folder, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
