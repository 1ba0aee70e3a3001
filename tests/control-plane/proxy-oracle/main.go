// What the package that client-go uses says of NO_PROXY: an independent answer to compare ours with.
//
// Each line of standard input is a value of NO_PROXY and the URL of a server, with '|' between. Each line of standard
// output is "direct" or "proxied".
package main

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		noProxy, server, _ := strings.Cut(lines.Text(), "|")
		config := httpproxy.Config{HTTPSProxy: "http://proxy:3128", NoProxy: noProxy}
		target, err := url.Parse(server)
		if err != nil {
			panic(err)
		}
		proxy, err := config.ProxyFunc()(target)
		switch {
		case err != nil:
			panic(err)
		case proxy == nil:
			fmt.Println("direct")
		default:
			fmt.Println("proxied")
		}
	}
}
