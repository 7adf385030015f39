# Everything a user or a contributor types. `make help` lists it.

CARGO ?= cargo
BIN := target/release

.PHONY: help demo build test check tests soak soak-short docs deny sanitize fuzz bench bench-quick bench-full bench-l7 bench-control images cluster cluster-down test-cluster conformance

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## the mesh on this machine: two nodes, four pods, real mTLS and policy
	@tests/need.sh nft:nftables ip:iproute2 tcpdump:tcpdump curl:curl
	$(CARGO) build --release --locked -p ambit-cli -p ambit-ztunnel -p ambit-waypoint -p ambit-controller -p ambit-agent -p ambit-echo
	$(BIN)/ambit up examples/hello --demo

build: ## release binaries in target/release
	$(CARGO) build --release --locked --workspace

test: check tests soak-short test-cluster docs deny ## everything that must pass
	@cat target/cluster/skipped 2>/dev/null || true
	@echo "make test: all passed"

check: ## formatting, and clippy with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# One feature set for binaries and tests, so that every dependency is compiled once.
tests: ## unit tests, and real programs through the mesh
	@tests/need.sh nft:nftables iptables:iptables ip:iproute2 setpriv:util-linux openssl:openssl curl:curl \
		dig:bind9-dnsutils tcpdump:tcpdump nc:netcat-openbsd nginx:nginx-light redis-server:redis-server \
		redis-benchmark:redis-tools postgres:postgresql pgbench:postgresql sshd:openssh-server \
		ssh:openssh-client python3:python3 perl:perl socat:socat mount:mount unshare:util-linux prlimit:util-linux tc:iproute2 \
		/usr/lib/$(shell uname -m)-linux-gnu/faketime/libfaketimeMT.so.1:libfaketime \
		/usr/lib/python3/dist-packages/grpc/__init__.py:python3-grpcio \
		/usr/lib/python3/dist-packages/websockets/__init__.py:python3-websockets \
		/usr/lib/python3/dist-packages/wsproto/__init__.py:python3-wsproto
	$(CARGO) build --workspace --all-targets --locked
	$(CARGO) test --workspace --locked

# SOAK_SECONDS is how long.
soak: ## half an hour of mixed traffic while pods, policies and certificates come and go
	@tests/need.sh nft:nftables ip:iproute2 setpriv:util-linux
	$(CARGO) build --release --locked --workspace
	$(BIN)/soak

soak-short: ## two minutes of it, with the programs of `make tests`
	$(CARGO) build --workspace --all-targets --locked
	SOAK_SECONDS=120 $(or $(CARGO_TARGET_DIR),target)/debug/soak

docs: ## the API documentation, with warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

deny: ## licences, bans, sources and advisories of all dependencies
	@tests/deny.sh

sanitize: ## the unsafe parts under Miri and AddressSanitizer, where the nightly compiler has them
	@tests/sanitize.sh

# FUZZ_SECONDS of each; FUZZ_TARGET is a part of the names of those that run. What they find is in fuzz/artifacts.
fuzz: ## a minute of cargo-fuzz for every reader of hostile bytes, on the nightly compiler
	@tests/fuzz.sh

# PEER_ZTUNNEL=path is compared with; BENCH_OPTIONS are bench's own, for example --rounds 9. JSON and pictures are in target/bench.
bench: ## the node tunnel beside the bare network (and PEER_ZTUNNEL=path), with the aims it reaches; 15 minutes
	@tests/need.sh nft:nftables ip:iproute2 setpriv:util-linux iperf3:iperf3 wrk:wrk nginx:nginx-light
	$(CARGO) build --release --locked --workspace
	@mkdir -p target/bench
	$(BIN)/bench tunnel --json target/bench/tunnel.json --plots target/bench $(BENCH_OPTIONS)

bench-quick: ## the same in at most three minutes
	@tests/need.sh nft:nftables ip:iproute2 setpriv:util-linux iperf3:iperf3 wrk:wrk nginx:nginx-light
	$(CARGO) build --release --locked --workspace
	$(BIN)/bench quick $(BENCH_OPTIONS)

bench-full: ## latency at fixed rates, 15,000 connections, 100,000 workloads, stalled streams, a slow link; 20 minutes
	@tests/need.sh nft:nftables ip:iproute2 tc:iproute2 setpriv:util-linux iperf3:iperf3 wrk:wrk nginx:nginx-light
	$(CARGO) build --release --locked --workspace
	@mkdir -p target/bench
	$(BIN)/bench full --json target/bench/full.json --plots target/bench $(BENCH_OPTIONS)

bench-l7: ## gateway and waypoint beside nginx, HAProxy (and PEER_ENVOY=path), in ten minutes
	@tests/need.sh nft:nftables ip:iproute2 setpriv:util-linux wrk:wrk h2load:nghttp2-client nginx:nginx-light haproxy:haproxy
	$(CARGO) build --release --locked --workspace
	@mkdir -p target/bench
	$(BIN)/bench l7 --json target/bench/l7.json $(BENCH_OPTIONS)

# ISTIOD=address:port measures a live istiod instead; BENCH_OPTIONS, for example --large, changes what is measured.
bench-control: ## the controller with 20,000 pods and 1,000 proxies, on a real API server; the first time 15 minutes
	@tests/need.sh python3:python3 setpriv:util-linux
	@cd tests/cluster && python3 -c 'import programs; programs.build("kubebox")'
	$(CARGO) build --release --locked -p ambit-controller -p ambit-bench
	@mkdir -p target/bench
	_RJEM_MALLOC_CONF=background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0 $(BIN)/bench control --json target/bench/control.json $(BENCH_OPTIONS)

images: build ## OCI images of the components in target/images
	@tests/need.sh python3:python3 nft:nftables iptables:iptables ip:iproute2 \
		/etc/ssl/certs/ca-certificates.crt:ca-certificates
	@packaging/images.py --bin $(or $(CARGO_TARGET_DIR),target)/release

# CLUSTER_INDEX and CLUSTER_DIR choose the cluster; CLUSTER_BIN, a directory with the programs, spares the build.
cluster: ## a Kubernetes cluster of two nodes on this machine, with Ambit in it
	@tests/need.sh python3:python3 containerd:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins \
		busybox:busybox-static nft:nftables iptables:iptables ip:iproute2 conntrack:conntrack tcpdump:tcpdump \
		curl:curl openssl:openssl unshare:util-linux mount:mount /etc/ssl/certs/ca-certificates.crt:ca-certificates
	$(if $(CLUSTER_BIN),,$(CARGO) build --workspace --all-targets --locked)
	@CLUSTER_BIN=$(or $(CLUSTER_BIN),$(or $(CARGO_TARGET_DIR),target)/debug) tests/cluster/cluster.py up

cluster-down: ## remove that cluster without a trace
	@tests/cluster/cluster.py down

# TEST chooses among them by a part of the name.
test-cluster: ## the tests on a real cluster, which is started for them and removed afterwards
	@tests/cluster/test.sh $(TEST)

# CONFORMANCE_OPTIONS are for the suite, for example -run-test=MeshTrafficSplit; `mesh` or `gateway` among them runs that half alone.
conformance: ## the conformance suite of the Gateway API on a real cluster, with reports in tests/cluster/conformance
	@$(MAKE) --no-print-directory cluster
	@status=0; tests/cluster/conformance.py $(CONFORMANCE_OPTIONS) || status=$$?; \
		tests/cluster/cluster.py down || status=$$?; exit $$status
