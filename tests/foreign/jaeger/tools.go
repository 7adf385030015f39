//go:build tools

// Package jaeger is a collector of spans.
package jaeger

import (
	_ "github.com/jaegertracing/jaeger/cmd/all-in-one"
)
