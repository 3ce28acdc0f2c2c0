// NRI's own Go code as a peer: a runtime with containerd's side of NRI, a plugin made with the module's stub, what
// the module makes of the replies of several plugins, and the module's descriptor.
package main

import (
	"log"
	"os"
	"strconv"
)

func main() {
	log.SetFlags(0)
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "runtime":
		plugins, err := strconv.Atoi(args[2])
		if err != nil {
			log.Fatal(err)
		}
		runtime(args[1], plugins)
	case len(args) == 1 && args[0] == "descriptor":
		descriptor()
	case len(args) == 1 && args[0] == "merge":
		merge()
	case len(args) == 4 && args[0] == "plugin":
		plugin(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "adjuster":
		adjust(args[1], args[2], args[3])
	default:
		log.Fatal("usage: nri-peer runtime FOLDER PLUGINS | plugin NAME INDEX SOCKET | adjuster NAME INDEX SOCKET | merge | descriptor")
	}
}
