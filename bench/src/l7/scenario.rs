//! What is measured, as data.

use serde::Serialize;

use crate::scenario::Goal;

/// One kind of load on one of the proxies' configurations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name in results and on the command line.
    pub(crate) id: &'static str,
    /// Its name in the report.
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) way: Way,
    /// What Ambit aims at beside Envoy.
    pub(crate) goal: Goal,
    /// The most memory that Ambit wants to need for it, bytes.
    pub(crate) memory: Option<f64>,
    /// The same in proportion to Envoy's.
    pub(crate) memory_ratio: Option<f64>,
}

/// How the requests come to the proxy and go on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// In the clear, through a proxy with so many routes; the last one is asked for.
    Gateway { routes: u32 },
    /// In mutual TLS between the tunnel of the node and a waypoint. Only Ambit's goes there.
    Waypoint,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// HTTP/1.1, the next request as soon as the last is answered (wrk).
    Saturate { connections: u32, body: Body },
    /// HTTP/1.1, so many requests a second on each of the connections (h2load).
    Offer { connections: u32, each: u32 },
    /// Unary gRPC calls, so many under way on each connection, as fast as they are answered (h2load).
    Grpc { connections: u32, calls: u32 },
}

/// The body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Small,
    Large,
}

/// Beside Envoy: CPU per request, requests a second where there is no end of them, latency where it is not.
const SATURATED: Goal = Goal { rate: Some(1.7), cpu: Some(0.45), p99: None };
const OFFERED: Goal = Goal { rate: None, cpu: Some(0.45), p99: Some(0.8) };

/// How many routes there can be.
pub(crate) const ROUTES: [u32; 3] = [1, 100, 5000];

/// What `bench l7` measures.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // First, while the proxies are fresh.
    Scenario { memory: Some(15e6), ..offer("offered-1000", "1,000 requests a second", 50, 20) },
    saturate("http-1", "1 connection", 1, Body::Small, Way::Gateway { routes: 1 }),
    saturate("http-16", "16 connections", 16, Body::Small, Way::Gateway { routes: 1 }),
    saturate("http-64", "64 connections", 64, Body::Small, Way::Gateway { routes: 1 }),
    saturate("http-256", "256 connections", 256, Body::Small, Way::Gateway { routes: 1 }),
    saturate("http-large", "64 connections, 100 KB", 64, Body::Large, Way::Gateway { routes: 1 }),
    saturate(
        "routes-100",
        "64 connections, 100 routes",
        64,
        Body::Small,
        Way::Gateway { routes: 100 },
    ),
    Scenario {
        memory_ratio: Some(0.3),
        ..saturate(
            "routes-5000",
            "64 connections, 5,000 routes",
            64,
            Body::Small,
            Way::Gateway { routes: 5000 },
        )
    },
    offer("offered-6000", "6,000 requests a second", 60, 100),
    Scenario {
        id: "grpc",
        title: "gRPC unary, 16 connections × 4",
        load: Load::Grpc { connections: 16, calls: 4 },
        way: Way::Gateway { routes: 1 },
        goal: SATURATED,
        memory: None,
        memory_ratio: None,
    },
    saturate("hbone-1", "HBONE, 1 connection", 1, Body::Small, Way::Waypoint),
    saturate("hbone-16", "HBONE, 16 connections", 16, Body::Small, Way::Waypoint),
    saturate("hbone-64", "HBONE, 64 connections", 64, Body::Small, Way::Waypoint),
    saturate("hbone-large", "HBONE, 64 connections, 100 KB", 64, Body::Large, Way::Waypoint),
];

const fn saturate(
    id: &'static str,
    title: &'static str,
    connections: u32,
    body: Body,
    way: Way,
) -> Scenario {
    let load = Load::Saturate { connections, body };
    Scenario { id, title, load, way, goal: SATURATED, memory: None, memory_ratio: None }
}

const fn offer(id: &'static str, title: &'static str, connections: u32, each: u32) -> Scenario {
    let (load, way) = (Load::Offer { connections, each }, Way::Gateway { routes: 1 });
    Scenario { id, title, load, way, goal: OFFERED, memory: None, memory_ratio: None }
}

// === impl Body ===

impl Body {
    pub(crate) const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The last segment of its path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "1k",
            Self::Large => "100k",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 1 << 10,
            Self::Large => 100 << 10,
        }
    }
}

// === impl Load ===

impl Load {
    /// The body that comes back, where the server has a choice.
    pub(crate) fn body(self) -> Body {
        match self {
            Self::Saturate { body, .. } => body,
            Self::Offer { .. } | Self::Grpc { .. } => Body::Small,
        }
    }
}
