//go:build tools

// Package tools pins the kubeconform that manifests are compared with schemas by: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "github.com/yannh/kubeconform/cmd/kubeconform"
