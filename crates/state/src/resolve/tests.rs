//! Table 2.4 row by row, then 2.7, 2.8 and the rows of 7, each as what the connection does.

use ambit_model::{Identity, Str, Workload};

use super::*;
use crate::Update;
use crate::fixtures::*;

mod endpoints;
mod networks;
mod table_2_4;
mod vips;

const PROXY_PORTS: [u16; 3] = [15001, 15006, 15008];

/// The client: pod `client` of namespace `shop` at 10.0.0.1.
fn client() -> Workload {
    pod("client", "10.0.0.1")
}

/// A request from `source` to `destination`.
struct Case {
    snapshot: Arc<Snapshot>,
    source: Workload,
    tried: Vec<Str>,
    seed: u64,
}

fn mesh(updates: impl IntoIterator<Item = Update>) -> Case {
    Case { snapshot: snapshot(updates), source: client(), tried: vec![], seed: 0 }
}

impl Case {
    fn resolve(&self, destination: &str) -> Resolution {
        let request = Request {
            source: &self.source,
            source_ip: self.source.workload_ips[0],
            destination: destination.parse().unwrap(),
            tried: &self.tried,
            proxy_ports: &PROXY_PORTS,
        };
        resolve(&self.snapshot, &request, &mut rng(self.seed))
    }

    /// What happens, in words.
    fn to(&self, destination: &str) -> String {
        describe(&self.resolve(destination))
    }

    /// What happens with each of many random numbers, without repetitions.
    fn all_to(&self, destination: &str) -> Vec<String> {
        let seeds = 0..200;
        let one = |seed| {
            let Self { snapshot, source, tried, .. } = self;
            let (snapshot, source, tried) = (snapshot.clone(), source.clone(), tried.clone());
            Self { snapshot, source, tried, seed }.to(destination)
        };
        let mut all: Vec<_> = seeds.map(one).collect();
        all.sort();
        all.dedup();
        all
    }

    fn tried(mut self, names: &[&str]) -> Self {
        self.tried = names.iter().map(|name| uid(name)).collect();
        self
    }

    fn from(mut self, source: Workload) -> Self {
        self.source = source;
        self
    }
}

fn describe(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Refuse(refusal) => format!("refuse {}: {refusal}", refusal.reason()),
        Resolution::Passthrough(Passthrough { destination, service }) => match service {
            Some(service) => format!("passthrough {destination} of {}", service.name),
            None => format!("passthrough {destination}"),
        },
        Resolution::Upstream(upstream) => {
            let mut words =
                vec![describe_hop(&upstream.hop), format!("dial {}", upstream.workload.name)];
            if let Some(destination) = &upstream.destination
                && destination.uid != upstream.workload.uid
            {
                words.push(format!("for {}", destination.name));
            }
            words.extend(upstream.service.as_ref().map(|service| format!("of {}", service.name)));
            words.join(", ")
        }
    }
}

fn describe_hop(hop: &Hop) -> String {
    let hbone = |hbone: &Hbone| {
        format!("{} authority {} as {}", hbone.dial, hbone.authority, names(&hbone.identities))
    };
    match hop {
        Hop::Tcp { destination } => format!("tcp {destination}"),
        Hop::Hbone(hop) => format!("hbone {}", hbone(hop)),
        Hop::Waypoint(hop) => format!("waypoint {}", hbone(hop)),
        Hop::DoubleHbone(hop) => format!(
            "double {} as {} authority {} as {}",
            hop.gateway,
            names(&hop.gateway_identities),
            hop.authority,
            names(&hop.identities)
        ),
        Hop::Hostname(hop) => {
            let family = if hop.prefer_ipv6 { 6 } else { 4 };
            let then = describe_hop(&hop.at([9, 9, 9, 9].into()));
            format!("look up {} (IPv{family}) then {then}", hop.host)
        }
    }
}

/// Service accounts; all identities in these tests are of one trust domain and namespace.
fn names(identities: &[Identity]) -> String {
    let accounts: Vec<_> = identities.iter().map(|id| &*id.service_account).collect();
    accounts.join("+")
}
