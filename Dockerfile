# One image per component: docker build --target ztunnel -t ambit.dev/ztunnel:0.1.0 .
# `make images` makes the same without Docker.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace \
    && mkdir /out \
    && for name in ztunnel waypoint controller ambit-agent ambit; do cp "target/release/$name" /out/ || exit 1; done \
    && if [ -e target/release/ambit-cni ]; then cp target/release/ambit-cni /out/; fi

FROM debian:bookworm-slim AS ztunnel
COPY --from=build /out/ztunnel /usr/local/bin/ztunnel
ENTRYPOINT ["/usr/local/bin/ztunnel"]

FROM debian:bookworm-slim AS waypoint
COPY --from=build /out/waypoint /usr/local/bin/waypoint
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/waypoint"]

FROM debian:bookworm-slim AS controller
COPY --from=build /out/controller /usr/local/bin/controller
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/controller"]

# The agent runs nft, iptables and ip in pods' network namespaces.
FROM debian:bookworm-slim AS ambit-agent
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates iproute2 iptables nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ambit-agent /out/ambit-cn[i] /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/ambit-agent"]

FROM debian:bookworm-slim AS ambit
COPY --from=build /out/ambit /usr/local/bin/ambit
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/ambit"]
