//go:build tools

// Package tools pins the helm that the chart is rendered by: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
