// The Go code of an old NRI as a peer: a runtime with the runtime's side of it, and a plugin made with its stub. It has no
// calls but StateChange for most events, sends an inventory in one message, and does not close what it cannot synchronize.
package main

import (
	"log"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "runtime":
		timeout, err := time.ParseDuration(args[2])
		must(err)
		runtime(args[1], timeout)
	case len(args) == 4 && args[0] == "plugin":
		plugin(args[1], args[2], args[3])
	default:
		log.Fatal("usage: nri-old-peer runtime FOLDER TIMEOUT | plugin NAME INDEX SOCKET")
	}
}
