package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// world is what a table is made of.
type world struct {
	pods       []*core.Pod
	policies   []*networking.NetworkPolicy
	namespaces map[string]labels.Set
}

// sorted orders the objects by name, so that the same world gives the same table.
func (w world) sorted() world {
	slices.SortFunc(w.pods, func(a, b *core.Pod) int { return byName(a, b) })
	slices.SortFunc(w.policies, func(a, b *networking.NetworkPolicy) int { return byName(a, b) })
	return w
}

func byName(a, b meta.Object) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

// table is a script for nft that replaces the table of a node. A pod that a policy isolates has a chain for the
// direction: what a rule allows returns from it, everything else is dropped.
func (w world) table(node string) string {
	var chains, jumps strings.Builder
	for number, pod := range w.pods {
		if pod.Spec.NodeName != node || !hasAddress(pod) {
			continue
		}
		for _, way := range []direction{egress, ingress} {
			allowed, isolated := w.allowed(pod, way)
			if !isolated {
				continue
			}
			chain := fmt.Sprintf("%s-%d", way.name, number)
			fmt.Fprintf(&chains, "  chain %s { # %s/%s\n", chain, pod.Namespace, pod.Name)
			for _, match := range allowed {
				fmt.Fprintf(&chains, "    %sreturn\n", match)
			}
			fmt.Fprintf(&chains, "    counter drop\n  }\n")
			fmt.Fprintf(&jumps, "    ip %s %s jump %s\n", way.own, pod.Status.PodIP, chain)
		}
	}
	return "table inet netpol\ndelete table inet netpol\ntable inet netpol {\n" + chains.String() +
		"  chain forward {\n    type filter hook forward priority 10; policy accept;\n" +
		"    ct state established,related accept\n" + jumps.String() + "  }\n}\n"
}

// direction of traffic as a pod sees it, and the address fields that hold the pod's own address and its peer's.
type direction struct {
	name, own, peer string
	policyType      networking.PolicyType
}

var (
	ingress = direction{"ingress", "daddr", "saddr", networking.PolicyTypeIngress}
	egress  = direction{"egress", "saddr", "daddr", networking.PolicyTypeEgress}
)

// allowed gives the matches for what a pod's policies allow, and whether there is a policy at all.
func (w world) allowed(pod *core.Pod, way direction) (matches []string, isolated bool) {
	for _, policy := range w.policies {
		if policy.Namespace != pod.Namespace || !selects(&policy.Spec.PodSelector, pod.Labels) ||
			!slices.Contains(policy.Spec.PolicyTypes, way.policyType) {
			continue
		}
		isolated = true
		if way == ingress {
			for _, rule := range policy.Spec.Ingress {
				matches = append(matches, w.fromPeers(pod, rule)...)
			}
		} else {
			for _, rule := range policy.Spec.Egress {
				matches = append(matches, w.toPeers(pod, rule)...)
			}
		}
	}
	return matches, isolated
}

// fromPeers is what an ingress rule allows; the names of ports are those of the pod itself.
func (w world) fromPeers(pod *core.Pod, rule networking.NetworkPolicyIngressRule) []string {
	ports := portMatches(rule.Ports, pod)
	if len(rule.From) == 0 {
		return ports
	}
	var sources []string
	for _, peer := range w.peers(pod.Namespace, rule.From) {
		sources = append(sources, "ip saddr "+peer.Status.PodIP+" ")
	}
	return pairs(append(sources, blocks(ingress, rule.From)...), ports)
}

// toPeers is what an egress rule allows; the names of ports are those of the peer.
func (w world) toPeers(pod *core.Pod, rule networking.NetworkPolicyEgressRule) []string {
	if len(rule.To) == 0 {
		return append(portMatches(rule.Ports, nil), w.namedPorts(rule.Ports)...)
	}
	var matches []string
	for _, peer := range w.peers(pod.Namespace, rule.To) {
		matches = append(matches, pairs([]string{"ip daddr " + peer.Status.PodIP + " "}, portMatches(rule.Ports, peer))...)
	}
	return append(matches, pairs(blocks(egress, rule.To), portMatches(rule.Ports, nil))...)
}

// namedPorts is what a rule for every destination allows by the names of ports: each pod that has one.
func (w world) namedPorts(ports []networking.NetworkPolicyPort) []string {
	named := slices.DeleteFunc(slices.Clone(ports), func(port networking.NetworkPolicyPort) bool {
		return port.Port == nil || port.Port.StrVal == ""
	})
	if len(named) == 0 {
		return nil
	}
	var matches []string
	for _, pod := range w.pods {
		if hasAddress(pod) {
			matches = append(matches, pairs([]string{"ip daddr " + pod.Status.PodIP + " "}, portMatches(named, pod))...)
		}
	}
	return matches
}

// peers are the pods that a rule of a policy in this namespace selects.
func (w world) peers(namespace string, peers []networking.NetworkPolicyPeer) []*core.Pod {
	selected := func(pod *core.Pod, peer networking.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return false
		}
		if peer.NamespaceSelector == nil && pod.Namespace != namespace {
			return false
		}
		return (peer.NamespaceSelector == nil || selects(peer.NamespaceSelector, w.namespaces[pod.Namespace])) &&
			(peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels))
	}
	var found []*core.Pod
	for _, pod := range w.pods {
		if hasAddress(pod) && slices.ContainsFunc(peers, func(peer networking.NetworkPolicyPeer) bool {
			return selected(pod, peer)
		}) {
			found = append(found, pod)
		}
	}
	return found
}

// blocks are the address ranges of a rule; those of IPv6 match nothing here.
func blocks(way direction, peers []networking.NetworkPolicyPeer) []string {
	var matches []string
	for _, peer := range peers {
		if peer.IPBlock == nil || strings.Contains(peer.IPBlock.CIDR, ":") {
			continue
		}
		match := fmt.Sprintf("ip %s %s ", way.peer, peer.IPBlock.CIDR)
		for _, except := range peer.IPBlock.Except {
			match += fmt.Sprintf("ip %s != %s ", way.peer, except)
		}
		matches = append(matches, match)
	}
	return matches
}

// portMatches are the matches for a rule's ports, each with a space at its end; no ports means all of them. Names are
// those of the given pod's ports, and match nothing without one.
func portMatches(ports []networking.NetworkPolicyPort, pod *core.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var matches []string
	for _, port := range ports {
		protocol := "tcp"
		if port.Protocol != nil {
			protocol = strings.ToLower(string(*port.Protocol))
		}
		switch {
		case port.Port == nil:
			matches = append(matches, "meta l4proto "+protocol+" ")
		case port.Port.StrVal != "":
			for _, number := range numbers(pod, port.Port.StrVal, protocol) {
				matches = append(matches, fmt.Sprintf("%s dport %d ", protocol, number))
			}
		case port.EndPort != nil:
			matches = append(matches, fmt.Sprintf("%s dport %d-%d ", protocol, port.Port.IntVal, *port.EndPort))
		default:
			matches = append(matches, fmt.Sprintf("%s dport %d ", protocol, port.Port.IntVal))
		}
	}
	return matches
}

// numbers are the ports of a pod that have this name.
func numbers(pod *core.Pod, name, protocol string) []int32 {
	var found []int32
	if pod == nil {
		return nil
	}
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name && strings.EqualFold(cmp.Or(string(port.Protocol), "TCP"), protocol) {
				found = append(found, port.ContainerPort)
			}
		}
	}
	return found
}

// pairs joins each address match with each port match.
func pairs(addresses, ports []string) []string {
	var matches []string
	for _, address := range addresses {
		for _, port := range ports {
			matches = append(matches, address+port)
		}
	}
	return matches
}

func selects(selector *meta.LabelSelector, set labels.Set) bool {
	compiled, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(set)
}

// hasAddress tells whether an address belongs to this pod and to no other.
func hasAddress(pod *core.Pod) bool {
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork &&
		pod.Status.Phase != core.PodSucceeded && pod.Status.Phase != core.PodFailed
}
