// Package conformance runs the conformance suite of the Gateway API as it is; its flags come from conformance.py.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
