//go:build tools

package conformance

// The server that the suite's manifests start, for go.mod.
import _ "sigs.k8s.io/gateway-api/conformance/echo-basic"
