// Command euid says as whom it runs. In its image it has the setuid bit.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("Effective uid:", os.Geteuid())
}
