//go:build tools

// Package tools pins the actionlint that checks the workflows: `go mod tidy` keeps its modules in go.sum.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
