//go:build tools

// Package tools pins the krew that installs the plugin in a test: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "sigs.k8s.io/krew/cmd/krew"
