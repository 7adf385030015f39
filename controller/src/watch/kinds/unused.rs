//! Kinds that belong to a mesh or to what runs in it and say nothing that the controller distributes.

/// Whether objects of this kind may stand beside the others without a remark.
pub(crate) fn is_known_and_unused(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "ServiceAccount"
                | "Endpoints"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "LimitRange"
                | "ResourceQuota"
        ),
        "apps" => matches!(kind, "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"),
        "batch" => matches!(kind, "Job" | "CronJob"),
        "rbac.authorization.k8s.io" => {
            matches!(kind, "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding")
        }
        "networking.k8s.io" => matches!(kind, "NetworkPolicy" | "Ingress" | "IngressClass"),
        // For waypoints alone.
        "security.istio.io" => kind == "RequestAuthentication",
        "autoscaling" => kind == "HorizontalPodAutoscaler",
        "policy" => kind == "PodDisruptionBudget",
        _ => false,
    }
}
