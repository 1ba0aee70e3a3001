//go:build tools

// Package tools pins the promtool that the alerts are tried with: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "github.com/prometheus/prometheus/cmd/promtool"
