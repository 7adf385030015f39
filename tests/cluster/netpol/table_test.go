package main

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func pod(namespace, name, ip string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name, Labels: labels.Set{"app": name}},
		Spec: core.PodSpec{NodeName: "node1", Containers: []core.Container{
			{Ports: []core.ContainerPort{{Name: "web", ContainerPort: 8080}}},
		}},
		Status: core.PodStatus{PodIP: ip},
	}
}

// Each case is a policy's spec in namespace a, and the chains that it makes for pod server there.
func TestTable(t *testing.T) {
	cases := []struct{ name, spec, chains string }{
		{"isolated", `{podSelector: {}, policyTypes: [Ingress]}`, `
			ingress: counter drop`},
		{"everything", `{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}`, `
			ingress: return
			ingress: counter drop`},
		{"other pods", `{podSelector: {matchLabels: {app: other}}, policyTypes: [Ingress]}`, ``},
		{"from a pod of the namespace, by the name of a port", `{podSelector: {}, policyTypes: [Ingress], ingress: [
			{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: web}]}]}`, `
			ingress: ip saddr 10.0.0.2 tcp dport 8080 return
			ingress: counter drop`},
		{"from a namespace, a range of ports", `{podSelector: {}, policyTypes: [Ingress], ingress: [
			{from: [{namespaceSelector: {matchLabels: {name: b}}}], ports: [{port: 80, endPort: 90, protocol: UDP}]}]}`, `
			ingress: ip saddr 10.0.0.3 udp dport 80-90 return
			ingress: counter drop`},
		{"to a block with exceptions", `{podSelector: {}, policyTypes: [Egress], egress: [
			{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.2.0/24]}}]}]}`, `
			egress: ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 ip daddr != 10.1.2.0/24 return
			egress: counter drop`},
		{"to a block of IPv6", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: "::/0"}}]}]}`, `
			egress: counter drop`},
		{"to anywhere, by the name of a port", `{podSelector: {}, policyTypes: [Egress], egress: [
			{ports: [{port: web}, {port: 53, protocol: UDP}]}]}`, `
			egress: udp dport 53 return
			egress: ip daddr 10.0.0.2 tcp dport 8080 return
			egress: ip daddr 10.0.0.1 tcp dport 8080 return
			egress: ip daddr 10.0.0.3 tcp dport 8080 return
			egress: counter drop`},
		{"no such port name", `{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: none}]}]}`, `
			ingress: counter drop`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			policy := &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "p"}}
			if err := yaml.UnmarshalStrict([]byte(c.spec), &policy.Spec); err != nil {
				t.Fatal(err)
			}
			done := pod("a", "done", "10.0.0.1")
			done.Status.Phase = core.PodSucceeded
			known := world{
				pods: []*core.Pod{
					pod("a", "server", "10.0.0.1"), pod("a", "client", "10.0.0.2"), pod("b", "client", "10.0.0.3"), done,
				},
				policies:   []*networking.NetworkPolicy{policy},
				namespaces: map[string]labels.Set{"a": {"name": "a"}, "b": {"name": "b"}},
			}.sorted()
			if got, want := chainsOf(known.table("node1"), "a/server"), words(c.chains); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// chainsOf is the rules of a pod, one on a line after its direction.
func chainsOf(table, pod string) string {
	var rules []string
	way := ""
	for _, line := range strings.Split(table, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasSuffix(line, "# "+pod):
			way, _, _ = strings.Cut(strings.TrimPrefix(line, "chain "), "-")
		case line == "}":
			way = ""
		case way != "":
			rules = append(rules, way+": "+line)
		}
	}
	return strings.Join(rules, "\n")
}

func words(expected string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(expected), "\n") {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
