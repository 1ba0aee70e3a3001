//! The admission request of an event.

use std::borrow::Cow;

use codex_k8s_shared::policy::RunPolicy;
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use super::before::{is_empty, without_patches};
use super::event::{AuditEvent, Decision, ObjectRef, Write};
use super::namespaces::LogNamespaces;
use super::objects::{Key, Objects};
use super::report::Unevaluated;
use crate::check::Document;
use crate::check::live::kinds::LISTED;
use crate::engine::Lookup as _;
use crate::registration::Resources;
use crate::review::{self, Operation};
use crate::rules::requester::service_account;

/// A request about a registered resource.
#[derive(Debug)]
pub(super) struct LogRequest<'a> {
    /// The event.
    pub(super) event: &'a AuditEvent<'a>,
    /// The object of the event.
    pub(super) reference: &'a ObjectRef<'a>,
    /// The operation.
    pub(super) operation: Operation,
    /// The kind of the object.
    pub(super) kind: &'static str,
    group: &'static str,
    /// True if the webhook mutates such requests.
    pub(super) is_mutated: bool,
    /// The recorded decision.
    pub(super) decision: Decision,
}

/// The objects of a request.
#[derive(Debug)]
pub(super) struct Change {
    /// The object before mutation; `None` of a deletion.
    pub(super) object: Option<Value>,
    /// The object as it was before the request; `None` of a creation.
    pub(super) old: Option<Value>,
    /// The recorded object after mutation, if it is known.
    pub(super) recorded: Option<Value>,
    /// True if the name was generated after mutation.
    is_name_generated: bool,
}

/// Returns the request of an event about a registered resource; `None` for any other event.
///
/// # Errors
/// [`Unevaluated`] if a decision is not possible even with all objects.
pub(super) fn request<'a>(
    event: &'a AuditEvent<'_>,
    policy: &RunPolicy,
    namespaces: &LogNamespaces,
    registered: &Resources,
) -> Result<Option<LogRequest<'a>>, Unevaluated> {
    let (Some(write), Some(reference)) = (event.write(), event.object_ref.as_ref()) else { return Ok(None) };
    let Some((_, kind)) = kind_in_review(reference) else { return Ok(None) };
    let (operation, is_collection) = match write {
        Write::One(operation) => (operation, false),
        Write::Collection => (Operation::Delete, true),
    };
    let requester = event.requester();
    let own_namespace = service_account(&requester.username).map(|(namespace, _)| namespace);
    let namespace = Some(&*reference.namespace).filter(|name| kind != "Namespace" && !name.is_empty());
    let is_certain = |name: &str| namespaces.is_certain(policy, name);
    let is_unknown = namespace.is_some_and(|name| !is_certain(name));
    let resource = reference.subresource().map_or_else(
        || reference.resource.to_string(),
        |subresource| format!("{}/{subresource}", reference.resource),
    );
    let is_managed = namespace.is_some_and(|name| namespaces.cached(name).is_some());
    let validates = |managed| registered.validates(operation, &reference.api_group, &resource, managed);
    let is_selected = validates(is_managed) || is_unknown && validates(true);
    if !is_selected {
        return Ok(None);
    }
    let decision = event.decision();
    if is_collection {
        return Err(Unevaluated::Collection);
    }
    if event.is_metadata_only() {
        return Err(Unevaluated::MetadataLevel);
    }
    if decision == Decision::Failed || event.has_failed_open() {
        return Err(Unevaluated::WebhookFailed);
    }
    if !event.has_succeeded() && decision == Decision::None {
        return Err(Unevaluated::FailedBefore);
    }
    if is_unknown || own_namespace.is_some_and(|name| !is_certain(name)) {
        return Err(Unevaluated::NamespaceUnknown);
    }
    let is_mutated = registered.mutates(operation, &reference.api_group, &resource, is_managed);
    Ok(LogRequest::of(event).map(|request| LogRequest { is_mutated, ..request }))
}

/// Returns group and kind of the object in a review about a resource.
fn kind_in_review(reference: &ObjectRef<'_>) -> Option<(&'static str, &'static str)> {
    match (&*reference.api_group, &*reference.resource, reference.subresource()) {
        ("", "bindings", None) | ("", "pods", Some("binding")) => Some(("", "Binding")),
        ("", "serviceaccounts", Some("token")) => Some(("authentication.k8s.io", "TokenRequest")),
        _ => stored_kind(reference),
    }
}

/// Returns group and kind of the objects of a resource.
pub(super) fn stored_kind(reference: &ObjectRef<'_>) -> Option<(&'static str, &'static str)> {
    let mut kinds = resources();
    let kind =
        kinds.find(|(group, resource, _)| *group == reference.api_group && *resource == reference.resource);
    kind.map(|(group, _, kind)| (group, kind))
}

/// Returns the key of an object in a file.
pub(super) fn key_of_document(document: &Document) -> Option<Key> {
    let (_, resource, _) =
        resources().find(|(group, _, kind)| *group == document.group() && *kind == document.kind)?;
    let namespace = document.namespace().unwrap_or_default();
    Some(Key::new(document.group(), resource, namespace, document.name()))
}

/// Returns group, resource and kind of the objects that have rules.
fn resources() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let cluster_scoped =
        [("", "namespaces", "Namespace"), ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole")];
    cluster_scoped.into_iter().chain(LISTED.iter().map(|listed| (listed.group, listed.plural, listed.kind)))
}

impl<'a> LogRequest<'a> {
    /// Returns the request of an event, if it is a write of an object of a kind that has rules.
    pub(super) fn of(event: &'a AuditEvent<'_>) -> Option<Self> {
        let (Some(Write::One(operation)), Some(reference)) = (event.write(), event.object_ref.as_ref())
        else {
            return None;
        };
        let (group, kind) = kind_in_review(reference)?;
        Some(Self { event, reference, operation, kind, group, is_mutated: true, decision: event.decision() })
    }

    /// Returns the objects of the request.
    ///
    /// # Errors
    /// [`Unevaluated`] if one is unknown.
    pub(super) fn change(&self, objects: &mut Objects) -> Result<Change, Unevaluated> {
        let (event, reference) = (self.event, self.reference);
        let old = match self.operation {
            Operation::Create | Operation::Connect => None,
            Operation::Update | Operation::Delete => {
                Some(objects.old(&reference.key()).ok_or(Unevaluated::OldObjectUnknown)?)
            }
        };
        if self.operation == Operation::Delete {
            let old = old.map(parse).transpose()?;
            return Ok(Change { object: None, old, recorded: None, is_name_generated: false });
        }
        let stored = event.stored(self.kind, old).map(|stored| parse(&stored)).transpose()?;
        let old = old.map(parse).transpose()?;
        let request = event.request_object.map(|raw| parse(raw.get())).transpose()?;
        let patches = event.patches().ok_or(Unevaluated::Unreadable)?;
        // Of a patch, the object that it was made for and led to is not logged.
        let sent = match &request {
            Some(request) if event.is_patch() => old.as_ref().and_then(|old| patched(old, request)),
            request => request.clone(),
        };
        let of_user = request.as_ref().filter(|_| event.is_patch());
        let is_certain = !of_user.is_some_and(|of_user| replaces(&patches, of_user, sent.is_some()));
        let received = stored
            .clone()
            .filter(|_| is_certain)
            .and_then(|stored| without_patches(stored, sent.as_ref(), &patches));
        let name = |object: &Value| object.pointer("/metadata/name").is_some_and(|name| name != "");
        let is_unnamed = sent.as_ref().is_some_and(|sent| !name(sent));
        let (object, recorded) = match (received, sent) {
            (Some(received), _) => (received, stored),
            (None, Some(sent)) if is_certain => (sent.clone(), apply_all(sent, &patches)),
            (None, _) => return Err(Unevaluated::ObjectUnknown),
        };
        let is_name_generated = self.operation == Operation::Create && is_unnamed && name(&object);
        Ok(Change { object: Some(object), old, recorded, is_name_generated })
    }

    /// Returns the body of a review.
    pub(super) fn review(&self, change: &Change, object: Option<&Value>) -> Value {
        let (event, reference) = (self.event, self.reference);
        let requester = event.requester();
        let groups: Vec<_> = requester.groups.iter().map(|group| &group.0).collect();
        let name = object.and_then(|object| object.pointer("/metadata/name")?.as_str());
        let namespace = match (self.kind, name) {
            ("Namespace", Some(name)) => name,
            _ => &reference.namespace,
        };
        json!({
            "apiVersion": review::API_VERSION,
            "kind": review::KIND,
            "request": {
                "uid": event.id,
                "kind": {"group": self.group, "version": reference.api_version, "kind": self.kind},
                "subResource": reference.subresource(),
                "name": if reference.name.is_empty() { name.unwrap_or_default() } else { &reference.name },
                "namespace": namespace,
                "operation": self.operation.as_str(),
                "userInfo": {"username": requester.username, "groups": groups},
                "object": object,
                "oldObject": change.old,
                "dryRun": event.is_dry_run(),
            },
        })
    }
}

impl Change {
    /// Returns the object for the mutating call, which comes before a name is generated.
    pub(super) fn unnamed(&self) -> Option<Value> {
        let mut object = self.object.clone()?;
        if let (true, Some(metadata)) =
            (self.is_name_generated, object.get_mut("metadata").and_then(Value::as_object_mut))
        {
            metadata.remove("name");
        }
        Some(object)
    }
}

impl ObjectRef<'_> {
    /// Returns the key of the object, whichever subresource is named.
    pub(super) fn key(&self) -> Key {
        self.key_of(&self.name)
    }

    /// Returns the key of an object of the same resource and namespace.
    pub(super) fn key_of(&self, name: &str) -> Key {
        let namespace = if self.resource == "namespaces" { "" } else { &*self.namespace };
        Key::new(&self.api_group, &self.resource, namespace, name)
    }
}

impl AuditEvent<'_> {
    /// Returns the object as it was stored, if the event shows it. Clients that request only metadata get only that: then
    /// the rest is the old object's, if the request cannot have changed it. The response to other requests is a
    /// `Status`, or for some subresources an object of another kind.
    pub(super) fn stored(&self, kind: &str, old: Option<&str>) -> Option<Cow<'_, str>> {
        #[derive(serde::Deserialize)]
        struct OnlyKind<'a> {
            #[serde(borrow, default)]
            kind: Cow<'a, str>,
        }
        let raw = self.response_object.filter(|_| self.has_succeeded())?.get();
        match serde_json::from_str::<OnlyKind<'_>>(raw).ok()?.kind.as_ref() {
            found if found == kind => Some(Cow::Borrowed(raw)),
            "PartialObjectMetadata" if self.changes_only_metadata() => {
                let metadata = serde_json::from_str::<Value>(raw).ok()?.get_mut("metadata")?.take();
                let mut object: Value = serde_json::from_str(old?).ok()?;
                object.as_object_mut()?.insert("metadata".to_owned(), metadata);
                Some(Cow::Owned(object.to_string()))
            }
            _ => None,
        }
    }

    /// Returns true for a deletion, and for a patch in the form of an object that has only metadata.
    fn changes_only_metadata(&self) -> bool {
        let patch = || self.request_object.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let is_of_metadata = |patch: &Value| {
            patch.as_object().is_some_and(|fields| {
                fields.keys().all(|key| ["apiVersion", "kind", "metadata"].contains(&key.as_str()))
            })
        };
        self.write() == Some(Write::One(Operation::Delete))
            || self.is_patch() && patch().as_ref().is_some_and(is_of_metadata)
    }
}

/// Returns the name in the metadata of an object.
pub(super) fn name_in(object: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    serde_json::from_str::<Named>(object).ok().map(|named| named.metadata.name)
}

fn parse(text: &str) -> Result<Value, Unevaluated> {
    serde_json::from_str(text).map_err(|_| Unevaluated::Unreadable)
}

fn apply_all(mut object: Value, patches: &[Patch]) -> Option<Value> {
    patches.iter().try_for_each(|patch| json_patch::patch(&mut object, patch)).is_ok().then_some(object)
}

/// Applies a patch whose result is not logged, if its type is certain although the log does not say it: a list is a JSON
/// patch; and a JSON merge patch and a strategic merge patch without lists and directives do the same. A server-side
/// apply, which names kind and version, depends on the fields that others manage.
fn patched(old: &Value, patch: &Value) -> Option<Value> {
    let mut object = old.clone();
    if patch.is_array() {
        let patch: Patch = serde_json::from_value(patch.clone()).ok()?;
        return json_patch::patch(&mut object, &patch).is_ok().then_some(object);
    }
    let is_applied = patch.get("kind").is_some() && patch.get("apiVersion").is_some();
    (!is_applied && is_plain(patch)).then(|| {
        json_patch::merge(&mut object, patch);
        object
    })
}

/// Returns true if our patches replace a value that a patch of the user sets. The API server decodes such values first,
/// so that a quantity gets another form, except texts in metadata.
fn replaces(patches: &[Patch], of_user: &Value, is_metadata_known: bool) -> bool {
    let is_harmless = |operation: &PatchOperation| {
        let creates_parent = matches!(operation, PatchOperation::Add(add) if is_empty(&add.value));
        creates_parent || is_metadata_known && operation.path().as_str().starts_with("/metadata/")
    };
    let mut operations = patches.iter().flat_map(|patch| &patch.0);
    operations.any(|operation| operation.path().resolve(of_user).is_ok() && !is_harmless(operation))
}

fn is_plain(patch: &Value) -> bool {
    match patch {
        Value::Array(_) => false,
        Value::Object(fields) => fields.iter().all(|(key, value)| !key.starts_with('$') && is_plain(value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_patch_of_a_certain_type_is_applied() {
        let old = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"items": [1]}});
        let labels = json!({"metadata": {"labels": {"a": null}}});
        let expected = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"items": [1]}});
        assert_eq!(patched(&old, &labels), Some(expected.clone()));
        let operations = json!([{"op": "remove", "path": "/metadata/labels/a"}]);
        assert_eq!(patched(&old, &operations), Some(expected));
        for uncertain in [
            json!({"spec": {"items": [2]}}),
            json!({"metadata": {"labels": {"$patch": "replace"}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}}}),
            json!([{"op": "remove", "path": "/metadata/labels/c"}]),
        ] {
            assert_eq!(patched(&old, &uncertain), None, "{uncertain}");
        }
    }
}
