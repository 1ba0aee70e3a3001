//! Names of resources of containers, and what Kubernetes allows for each.

/// Returns true if a Pod can set the resource for itself.
pub(super) fn is_pod_level(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || is_huge_pages(resource)
}

/// Returns true for huge pages of any size.
pub(super) fn is_huge_pages(resource: &str) -> bool {
    resource.starts_with("hugepages-")
}

/// Returns true if a container can set the resource.
pub(super) fn is_of_containers(resource: &str) -> bool {
    if resource.contains('/') {
        is_native(resource) || is_extended(resource)
    } else {
        matches!(resource, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(resource)
    }
}

/// Returns true if the limit of a resource may be larger than its request.
pub(super) fn is_overcommitted(resource: &str) -> bool {
    is_native(resource) && !is_huge_pages(resource)
}

/// Returns true for a resource that is counted in whole numbers, such as devices.
pub(super) fn is_extended(resource: &str) -> bool {
    !is_native(resource) && !resource.starts_with(QUOTA_PREFIX) && is_qualified(resource)
}

/// The prefix of a resource in a quota.
const QUOTA_PREFIX: &str = "requests.";

fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Returns true for `DOMAIN/NAME`, if the domain is still valid with the prefix of quotas.
fn is_qualified(resource: &str) -> bool {
    const LONGEST_DOMAIN: usize = 253 - QUOTA_PREFIX.len();
    const LONGEST_NAME: usize = 63;
    let is_part = |part: &str, inner: &[u8]| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || inner.contains(&byte))
    };
    resource.split_once('/').is_some_and(|(domain, name)| {
        domain.len() <= LONGEST_DOMAIN
            && name.len() <= LONGEST_NAME
            && !domain.bytes().any(|byte| byte.is_ascii_uppercase())
            && domain.split('.').all(|label| is_part(label, b"-"))
            && is_part(name, b"-_.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_the_api_server_does() {
        for extended in ["example.com/gpu", "nvidia.com/gpu", "a/B_c.d", "x-y.example/1"] {
            assert!(is_extended(extended) && is_of_containers(extended) && !is_overcommitted(extended));
        }
        for wrong in
            ["requests.example.com/gpu", "/gpu", "example.com/", "Example.com/gpu", "a..b/c", "a/b/c", "a/-b"]
        {
            assert!(!is_of_containers(wrong), "{wrong}");
        }
        for wrong in ["gpu", "storage", "pods", "requests.cpu", ""] {
            assert!(!is_of_containers(wrong) && is_overcommitted(wrong), "{wrong}");
        }
        for native in ["cpu", "memory", "ephemeral-storage", "kubernetes.io/batteries"] {
            assert!(is_of_containers(native) && is_overcommitted(native) && !is_extended(native), "{native}");
        }
        assert!(is_of_containers("hugepages-2Mi") && !is_overcommitted("hugepages-2Mi"));
        let long =
            |domain: usize, name: usize| format!("{}/{}", vec!["a"; domain].join("."), "n".repeat(name));
        assert!(is_extended(&long(122, 63)));
        assert!(!is_extended(&long(123, 63)) && !is_extended(&long(122, 64)));
    }
}
