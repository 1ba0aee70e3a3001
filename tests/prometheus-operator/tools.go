//go:build tools

// Package tools pins the operator whose kinds the chart has: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
