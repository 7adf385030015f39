// Netpol enforces NetworkPolicy (networking.k8s.io/v1, IPv4) on one node of a test cluster. It runs in the node's
// network namespace and keeps one nftables table. Every packet of a pod passes the node's forward hook, after Services
// were translated and with the pods' own addresses; what the node itself sends (the kubelet's probes) does not.
package main

import (
	"flag"
	"fmt"
	"log"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/listers/core/v1"
	networkingv1 "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Changes that come together make one update.
const settle = 20 * time.Millisecond

// How long to wait after nft refused a table.
const retry = time.Second

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the address and credentials of the API server")
	node := flag.String("node", "", "name of the node to enforce on")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatalf("netpol: kubeconfig %q: %v", *kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatalf("netpol: kubeconfig %q: %v", *kubeconfig, err)
	}
	enforce(*node, watch(informers.NewSharedInformerFactory(client, 0)))
}

// watcher knows the objects and tells when one of them changed.
type watcher struct {
	pods       corev1.PodLister
	namespaces corev1.NamespaceLister
	policies   networkingv1.NetworkPolicyLister
	changed    chan struct{}
}

func watch(factory informers.SharedInformerFactory) *watcher {
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	w := &watcher{pods.Lister(), namespaces.Lister(), policies.Lister(), make(chan struct{}, 1)}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.notify() },
		UpdateFunc: func(any, any) { w.notify() },
		DeleteFunc: func(any) { w.notify() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			log.Fatalf("netpol: %v", err)
		}
	}
	factory.Start(nil)
	factory.WaitForCacheSync(nil)
	return w
}

func (w *watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// world is a copy of what the informers know now. Listing from their memory does not fail.
func (w *watcher) world() world {
	pods, _ := w.pods.List(labels.Everything())
	policies, _ := w.policies.List(labels.Everything())
	namespaces, _ := w.namespaces.List(labels.Everything())
	known := world{pods: pods, policies: policies, namespaces: map[string]labels.Set{}}
	for _, namespace := range namespaces {
		known.namespaces[namespace.Name] = namespace.Labels
	}
	return known.sorted()
}

// enforce replaces the table whenever it differs from the one in force.
func enforce(node string, w *watcher) {
	inForce := ""
	for range w.changed {
		time.Sleep(settle)
		table := w.world().table(node)
		if table == inForce {
			continue
		}
		if err := load(table); err != nil {
			log.Printf("netpol: %v\n%s", err, table)
			time.AfterFunc(retry, w.notify)
			continue
		}
		inForce = table
	}
}

// load gives the kernel a script, which takes effect as a whole or not at all.
func load(script string) error {
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(script)
	if output, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}
