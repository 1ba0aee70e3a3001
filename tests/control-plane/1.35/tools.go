//go:build tools

// Package tools pins what this control plane is built from: `go mod tidy` keeps these modules in go.sum.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
