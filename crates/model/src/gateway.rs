//! The classes of Gateways that Ambit deploys, and the names that follow from a class.

/// What the proxy of a Gateway is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayRole {
    /// Stands in front of services and workloads of the mesh, and takes HBONE.
    Waypoint,
    /// Lets traffic in from outside the mesh.
    Ingress,
}

/// A class of Gateways (protocol.md 10.2, and our own beside Istio's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayClass {
    /// The name of the GatewayClass.
    pub name: &'static str,
    /// Its `controllerName`.
    pub controller: &'static str,
    /// What its proxies are for.
    pub role: GatewayRole,
    /// What is put behind a Gateway's name to name what is deployed for it.
    suffix: &'static str,
}

/// The names of what is deployed for a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayNames {
    /// Of its Deployment and its Service.
    pub objects: String,
    /// Of its service account.
    pub service_account: String,
}

/// Every class that is deployed.
pub const GATEWAY_CLASSES: [GatewayClass; 4] = [
    GatewayClass {
        name: "istio-waypoint",
        controller: "istio.io/mesh-controller",
        role: GatewayRole::Waypoint,
        suffix: "",
    },
    GatewayClass {
        name: "ambit-waypoint",
        controller: "ambit.dev/mesh-controller",
        role: GatewayRole::Waypoint,
        suffix: "",
    },
    GatewayClass {
        name: "istio",
        controller: "istio.io/gateway-controller",
        role: GatewayRole::Ingress,
        suffix: "-istio",
    },
    GatewayClass {
        name: "ambit",
        controller: "ambit.dev/gateway-controller",
        role: GatewayRole::Ingress,
        suffix: "",
    },
];

/// The annotation that names what is deployed (Istio).
const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";
/// The annotation that names the service account (Istio).
const SERVICE_ACCOUNT: &str = "gateway.istio.io/service-account";

// === impl GatewayClass ===

impl GatewayClass {
    /// The class of that name, if it is one that is deployed.
    pub fn named(name: &str) -> Option<&'static Self> {
        GATEWAY_CLASSES.iter().find(|class| class.name == name)
    }

    /// The names of what is deployed for the Gateway of that name, by its annotations.
    pub fn names<'a>(
        &self,
        gateway: &str,
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> GatewayNames {
        let own = format!("{gateway}{}", self.suffix);
        let named = |key| annotation(key).filter(|name| !name.is_empty()).map(str::to_owned);
        GatewayNames {
            objects: named(NAME_OVERRIDE).unwrap_or_else(|| own.clone()),
            service_account: named(SERVICE_ACCOUNT).unwrap_or(own),
        }
    }

    /// The value of the label `gateway.istio.io/managed` of what is deployed.
    pub fn managed(&self) -> String {
        self.controller.replace('/', "-")
    }

    /// Whether anything is deployed for a Gateway whose `spec.addresses` have these types: with a host name, or several
    /// addresses, it describes what somebody else has deployed.
    pub fn deploys(types: &[Option<&str>]) -> bool {
        matches!(types, [] | [None | Some("IPAddress")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_class_and_annotations() {
        let names = |class: &str, annotations: &'static [(&str, &str)]| {
            let of = |key: &str| annotations.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
            let names = GatewayClass::named(class).unwrap().names("gw", of);
            (names.objects, names.service_account)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(names("istio-waypoint", &[]), pair("gw", "gw"));
        assert_eq!(names("ambit", &[]), pair("gw", "gw"));
        assert_eq!(names("istio", &[]), pair("gw-istio", "gw-istio"));
        assert_eq!(names("istio", &[(NAME_OVERRIDE, "edge")]), pair("edge", "gw-istio"));
        assert_eq!(names("ambit", &[(SERVICE_ACCOUNT, "door")]), pair("gw", "door"));
        assert_eq!(names("ambit", &[(SERVICE_ACCOUNT, "")]), pair("gw", "gw"));
        assert_eq!(GatewayClass::named("istio-remote"), None);
    }

    #[test]
    fn gateways_with_a_host_are_somebody_elses() {
        for (types, expected) in [
            (&[][..], true),
            (&[None], true),
            (&[Some("IPAddress")], true),
            (&[Some("Hostname")], false),
            (&[None, None], false),
        ] {
            assert_eq!(GatewayClass::deploys(types), expected, "{types:?}");
        }
    }
}
