//! Section 7, the lookup by virtual address: ranking, visibility, ranges, networks.

use ambit_model::{NetworkAddress, NetworkCidr, Visibility};

use super::*;

/// A service of `namespace` at 10.1.0.1, passed through so that its name shows.
fn rival(namespace: &str, change: impl FnOnce(&mut Service)) -> Update {
    use ambit_model::LoadBalancerMode::Passthrough;
    let service = but(service(namespace, "10.1.0.1"), |s| {
        s.namespace = namespace.into();
        s.load_balancer = Some(balancer(Passthrough, &[]));
        change(s);
    });
    service.into()
}

fn range(range: &'static str) -> impl Fn(&mut Service) {
    move |service| {
        service.vips.clear();
        service.cidr_vips.push(cidr(range));
    }
}

/// The service that a client of namespace `shop` reaches.
fn winner(updates: Vec<Update>) -> String {
    let went = mesh(updates).to("10.1.0.1:80");
    match went.strip_prefix("passthrough 10.1.0.1:80 of ") {
        Some(name) => name.into(),
        None => went,
    }
}

#[test]
fn ranking_of_services_with_one_address() {
    let canonical = |s: &mut Service| s.canonical = true;
    let hidden = |s: &mut Service| s.visibility = Visibility::Namespace;
    let ours = |s: &mut Service| {
        s.namespace = "shop".into();
        s.canonical = true;
    };
    let cases = [
        ("own namespace", vec![rival("a", canonical), rival("shop", |_| {})], "shop"),
        (
            "the canonical one of the own namespace",
            vec![rival("shop", |_| {}), rival("zz", ours)],
            "zz",
        ),
        ("canonical", vec![rival("a", |_| {}), rival("b", canonical)], "b"),
        ("the first by name", vec![rival("b", |_| {}), rival("a", |_| {})], "a"),
        (
            "an invisible one is not there",
            vec![
                rival("a", |s| {
                    canonical(s);
                    hidden(s)
                }),
                rival("b", |_| {}),
            ],
            "b",
        ),
        ("its own namespace sees it", vec![rival("a", canonical), rival("shop", hidden)], "shop"),
        ("nothing visible", vec![rival("a", hidden)], "passthrough 10.1.0.1:80"),
    ];
    for (case, updates, expected) in cases {
        assert_eq!(winner(updates), expected, "{case}");
    }
}

#[test]
fn ranking_of_ranges() {
    let canonical = |length: &'static str| {
        move |s: &mut Service| {
            range(length)(s);
            s.canonical = true
        }
    };
    let hidden = |length: &'static str| {
        move |s: &mut Service| {
            range(length)(s);
            s.visibility = Visibility::Namespace
        }
    };
    let cases = [
        ("any range", vec![rival("a", range("10.1.0.0/16"))], "a"),
        ("host bits do not matter", vec![rival("a", range("10.1.77.88/16"))], "a"),
        ("beside the range", vec![rival("a", range("10.2.0.0/16"))], "passthrough 10.1.0.1:80"),
        ("another family", vec![rival("a", range("::/0"))], "passthrough 10.1.0.1:80"),
        ("exact before range", vec![rival("shop", range("10.1.0.0/24")), rival("z", |_| {})], "z"),
        (
            "own namespace before length",
            vec![rival("a", range("10.1.0.0/24")), rival("shop", range("10.0.0.0/8"))],
            "shop",
        ),
        ("length", vec![rival("a", range("10.0.0.0/8")), rival("b", range("10.1.0.0/16"))], "b"),
        (
            "length before canonical",
            vec![rival("a", canonical("10.0.0.0/8")), rival("b", range("10.1.0.0/16"))],
            "b",
        ),
        (
            "canonical at one length",
            vec![rival("a", range("10.1.0.0/16")), rival("b", canonical("10.1.0.0/16"))],
            "b",
        ),
        (
            "the first by name",
            vec![rival("b", range("10.1.0.0/16")), rival("a", range("10.1.0.0/16"))],
            "a",
        ),
        (
            "invisible",
            vec![rival("a", hidden("10.1.0.0/24")), rival("b", range("10.0.0.0/8"))],
            "b",
        ),
        (
            "a range for an invisible exact one",
            vec![
                rival("a", |s| s.visibility = Visibility::Namespace),
                rival("b", range("10.0.0.0/8")),
            ],
            "b",
        ),
    ];
    for (case, updates, expected) in cases {
        assert_eq!(winner(updates), expected, "{case}");
    }
}

#[test]
fn addresses_belong_to_networks() {
    let far = |s: &mut Service| s.vips = vec![NetworkAddress::new("far", [10, 1, 0, 1].into())];
    assert_eq!(winner(vec![rival("a", far)]), "passthrough 10.1.0.1:80");
    let far_range = |s: &mut Service| {
        s.vips.clear();
        s.cidr_vips = vec![NetworkCidr::new("far", "10.1.0.0/16".parse().unwrap())];
    };
    assert_eq!(winner(vec![rival("a", far_range)]), "passthrough 10.1.0.1:80");
    let client = but(client(), |w| w.network = "far".into());
    let went = mesh([rival("a", far)]).from(client).to("10.1.0.1:80");
    assert_eq!(went, "passthrough 10.1.0.1:80 of a");
}

#[test]
fn every_address_of_a_service_reaches_it() {
    let both = |s: &mut Service| {
        s.vips = vec!["/10.1.0.1".parse().unwrap(), "/2001:db8::1".parse().unwrap()]
    };
    let case = mesh([rival("a", both)]);
    assert_eq!(case.to("10.1.0.1:80"), "passthrough 10.1.0.1:80 of a");
    assert_eq!(case.to("[2001:db8::1]:80"), "passthrough [2001:db8::1]:80 of a");
}
