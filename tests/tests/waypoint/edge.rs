//! A gateway of the class `ambit`, in front of services of the mesh, and a client outside.

use std::net::IpAddr;

use ambit_tests::eventually;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpStream;

use super::http1;
use super::scene::Scene;

/// The pod that is not in the mesh.
pub(super) const OUTSIDE: &str = "outside";

/// The name in its certificate.
pub(super) const NAME: &str = "edge.example";

/// What lets traffic in to one service, by HTTP on port 80 and by HTTPS on port 443.
pub(super) struct Edge {
    pub(super) ip: IpAddr,
}

// === impl Edge ===

impl Edge {
    /// Opens it in front of `service`, which has been offered before. There is one at a time in a scene.
    pub(super) async fn before(scene: &Scene, service: &str) -> Self {
        Self::certify(scene).await;
        scene
            .apply(&format!(
                "apiVersion: v1
kind: Pod
metadata: {{name: {OUTSIDE}, namespace: edge}}
spec: {{nodeName: node-1, containers: [{{name: c, command: [sleep, infinity]}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: edge}}
spec:
  gatewayClassName: ambit
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
  - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: front}}]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: front, namespace: edge}}
spec:
  parentRefs: [{{name: front}}]
  rules: [{{backendRefs: [{{name: {service}, namespace: shop, port: 80}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: edge, namespace: shop}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: edge}}]
  to: [{{group: '', kind: Service}}]
"
            ))
            .await;
        let ip = eventually(|| async {
            let ips = scene.sandbox.service("edge", "front").map_err(|e| e.to_string())?;
            ips.into_iter().find(IpAddr::is_ipv4).ok_or_else(|| "no address".to_owned())
        })
        .await;
        let edge = Self { ip };
        eventually(|| async {
            let mut stream = edge.connect(scene).await.map_err(|error| error.to_string())?;
            let answer = http1::ask(&mut stream, "/").await.map_err(|error| error.to_string())?;
            // An endpoint that speaks something else is there as well.
            if answer.status == 404 { Err("no route yet".to_owned()) } else { Ok(()) }
        })
        .await;
        edge
    }

    /// Gives it a certificate of its own, and a new one each time.
    pub(super) async fn certify(scene: &Scene) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
        let block = |pem: String| pem.replace('\n', "\n    ");
        let (cert, key) = (block(cert.pem()), block(signing_key.serialize_pem()));
        scene
            .apply(&format!(
                "apiVersion: v1
kind: Namespace
metadata: {{name: edge}}
---
apiVersion: v1
kind: Secret
metadata: {{name: front, namespace: edge}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {cert}
  tls.key: |
    {key}
"
            ))
            .await;
    }

    /// From outside, by HTTP.
    pub(super) async fn connect(&self, scene: &Scene) -> std::io::Result<TcpStream> {
        if scene.sandbox.pod(OUTSIDE).is_err() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        scene.dial(OUTSIDE, (self.ip, 80).into()).await
    }
}
