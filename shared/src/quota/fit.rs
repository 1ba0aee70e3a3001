//! Defaults that fit the other resources of a Pod.
//!
//! A LimitRange gives the same default limit to every container. A container that requests more becomes invalid by
//! it, and so does one in a Pod whose own limit is smaller. The defaults here differ just as much as is needed.

use serde_json::Value;

use crate::policy::LimitSettings;
use crate::quota::pod_resources::{Container, Defaults, PodResources, Side, find};
use crate::quota::quantity::Quantity;
use crate::quota::resource_name::is_overcommitted;

/// A quantity in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// The index in the list.
    pub index: usize,
    /// `requests` or `limits`.
    pub part: &'static str,
    /// The resource, such as `memory`.
    pub resource: &'a str,
}

/// The default of a resource that a container does not set, or not completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitting<'a> {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// The index in the list.
    pub index: usize,
    /// The resource.
    pub resource: &'a str,
    /// The limit, if it is missing and has a default.
    pub limit: Option<Quantity>,
    /// The request, if it is missing and has a default.
    pub request: Option<Quantity>,
    /// True if the LimitRange would set another value.
    pub differs: bool,
}

impl<'a> Fitting<'a> {
    /// The quantities with their fields.
    pub fn quantities(&self) -> impl Iterator<Item = (Field<'a>, Quantity)> {
        let Self { list, index, resource, .. } = *self;
        [("limits", self.limit), ("requests", self.request)]
            .into_iter()
            .filter_map(move |(part, quantity)| Some((Field { list, index, part, resource }, quantity?)))
    }
}

/// Returns the defaults of the containers of a Pod. Fields for which `is_missing` returns true count as missing, even
/// if they have a value.
pub fn fitting_defaults<'a>(
    spec: &'a Value,
    range: &'a LimitSettings,
    is_missing: impl Fn(Field<'a>) -> bool,
) -> Vec<Fitting<'a>> {
    let defaults = Defaults::of(range);
    let mut pod = PodResources::as_written(spec);
    let mut fitting = Vec::new();
    for container in &mut pod.containers {
        remove(container, &is_missing);
        container.request_own_limits();
        for (resource, _) in &defaults.requests {
            let own = find(&pod.limits, resource);
            if let Some(default) = fitted(container, resource, &defaults, own) {
                container.limits.extend(default.limit.map(|limit| (*resource, limit)));
                container.requests.extend(default.request.map(|request| (*resource, request)));
                fitting.push(default);
            }
        }
    }
    for resource in ["cpu", "memory"] {
        let own = find(&pod.requests, resource).or_else(|| find(&pod.limits, resource));
        if own.is_some_and(|own| pod.of_containers(Side::Requests, resource) > Some(own)) {
            request_nothing(&mut fitting, resource);
        }
    }
    fitting
}

fn remove<'a>(container: &mut Container<'a>, is_missing: impl Fn(Field<'a>) -> bool) {
    let (list, index) = (container.list, container.index);
    container.limits.retain(|(resource, _)| !is_missing(Field { list, index, part: "limits", resource }));
    container.requests.retain(|(resource, _)| !is_missing(Field { list, index, part: "requests", resource }));
}

/// Returns the default of one resource in a container: at least what it requests, and at most the Pod's `own` limit. If
/// it requests more than that, no default fits.
fn fitted<'a>(
    container: &Container<'_>,
    resource: &'a str,
    defaults: &Defaults<'a>,
    own: Option<Quantity>,
) -> Option<Fitting<'a>> {
    let (limit, request) = (find(&container.limits, resource), find(&container.requests, resource));
    let default_limit = find(&defaults.limits, resource).filter(|_| limit.is_none());
    let default_request = find(&defaults.requests, resource).filter(|_| request.is_none());
    let limit = default_limit.map(|default| match (request, own) {
        (Some(request), Some(own)) if request > own => default,
        (Some(request), _) if request > default || !is_overcommitted(resource) => request,
        (_, own) => own.map_or(default, |own| own.min(default)).max(request.unwrap_or(Quantity::ZERO)),
    });
    let request = default_request.map(|default| limit.map_or(default, |limit| limit.min(default)));
    let differs = (limit, request) != (default_limit, default_request);
    let Container { list, index, .. } = *container;
    (limit.is_some() || request.is_some()).then_some(Fitting {
        list,
        index,
        resource,
        limit,
        request,
        differs,
    })
}

/// Sets the default requests to zero, because together they exceed the resources of the Pod itself. The containers then
/// share these.
fn request_nothing(fitting: &mut [Fitting<'_>], resource: &str) {
    for default in fitting.iter_mut().filter(|default| default.resource == resource) {
        if default.request.is_some() {
            default.request = Some(Quantity::ZERO);
            default.differs = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range() -> LimitSettings {
        crate::policy::RunPolicy::default().baseline.full_env.limit_range.unwrap()
    }

    /// Returns the defaults that differ from those of the LimitRange, as `LIST[INDEX] RESOURCE LIMIT REQUEST`.
    fn differing(spec: &Value) -> Vec<String> {
        let range = range();
        let defaults =
            fitting_defaults(spec, &range, |_| false).into_iter().filter(|default| default.differs);
        let text = |quantity: Option<Quantity>| quantity.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let line = |it: Fitting<'_>| {
            format!("{}[{}] {} {} {}", it.list, it.index, it.resource, text(it.limit), text(it.request))
        };
        defaults.map(line).collect()
    }

    fn requesting(cpu: &str) -> Value {
        json!({"name": "a", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_container_is_limited_to_what_it_requests_if_that_is_more_than_the_default() {
        let mut spec = json!({"containers": [requesting("2"), requesting("1"), {"name": "b"}]});
        spec["initContainers"] = json!([requesting("1500m")]);
        assert_eq!(differing(&spec), ["containers[0] cpu 2 -", "initContainers[0] cpu 1500m -"]);
        spec = json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "3"}}}]});
        assert_eq!(differing(&spec), [""; 0], "its own limit");
    }

    #[test]
    fn a_container_is_limited_to_the_limit_of_its_pod() {
        let mut spec = json!({"containers": [requesting("300m"), {"name": "b"}], "resources": {"limits": {"cpu": "600m"}}});
        assert_eq!(differing(&spec), ["containers[0] cpu 600m -", "containers[1] cpu 600m 250m"]);
        spec["resources"]["limits"]["cpu"] = "500m".into();
        assert_eq!(differing(&spec), ["containers[0] cpu 500m -", "containers[1] cpu 500m 0"], "shared");
        spec["containers"] = json!([requesting("700m")]);
        assert_eq!(differing(&spec), [""; 0], "nothing fits");
    }

    #[test]
    fn containers_share_the_request_of_their_pod_if_their_defaults_are_more() {
        let spec =
            |request: &str| json!({"containers": [{}, {}], "resources": {"requests": {"cpu": request}}});
        assert_eq!(differing(&spec("500m")), [""; 0]);
        assert_eq!(differing(&spec("499m")), ["containers[0] cpu 1 0", "containers[1] cpu 1 0"]);
    }

    #[test]
    fn what_counts_as_missing_gets_its_default_again() {
        let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        let (range, spec) = (range(), json!({"containers": [{"name": "a", "resources": resources}]}));
        let is_missing = |field: Field<'_>| field.part == "limits" && field.resource == "cpu";
        let found = fitting_defaults(&spec, &range, is_missing);
        let quantities: Vec<_> = found.iter().flat_map(Fitting::quantities).collect();
        let field = Field { list: "containers", index: 0, part: "limits", resource: "cpu" };
        assert_eq!(quantities, [(field, "2".parse().unwrap())]);
    }
}
