//go:build tools

// Package echo is the programs that the suite's mesh tests start as `echo-advanced` and call each other with.
package echo

import (
	_ "istio.io/istio/pkg/test/echo/cmd/client"
	_ "istio.io/istio/pkg/test/echo/cmd/server"
)
