//go:build tools

// Package grpc is gRPC's own interoperability tests, and the command that speaks it.
package grpc

import (
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
