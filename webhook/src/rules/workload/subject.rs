//! Workloads as the rules see them, and the form of a rule about them.

use codex_k8s_shared::policy::{BaselineSet, RunPolicy};
use codex_k8s_shared::{baseline, keys, names};
use serde_json::Value;

use crate::rules::edits::Edits;
use crate::rules::evaluate::HasRule;
use crate::rules::object::{at, items};
use crate::rules::report::{Report, annotation_path};
use crate::rules::rule::Rule;
use crate::rules::{Kind, LevelVersion, ManagedNamespace, Meta, Role};

/// The context of the rules about a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The policy.
    pub policy: &'a RunPolicy,
    /// The managed namespace that contains the workload.
    pub namespace: &'a ManagedNamespace,
    /// The Pod Security level that the API server enforces there.
    pub pod_security: LevelVersion,
    /// The workload's name; empty while a `generateName` has not been resolved.
    pub name: &'a str,
    /// True if a controller of the cluster creates it from a template.
    pub generated: bool,
    /// The role of the requester.
    pub role: Role,
    /// True if the requester is a kubelet.
    pub by_kubelet: bool,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// Returns true if the namespace is a slot.
    pub(crate) fn is_in_slot(&self) -> bool {
        self.policy.namespaces.is_slot(&self.namespace.name)
    }

    /// Returns the baseline of the namespace.
    pub(crate) fn baseline(&self) -> &'a BaselineSet {
        baseline::set_of(self.policy, self.namespace.mode, self.is_in_slot())
    }
}

/// A workload object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// Its kind.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta<'a>,
    /// True if it is the old object of an update. Everything in it excuses the new one, including what a
    /// plug-in wrote.
    pub is_old: bool,
}

/// The keys from an object to a part of it.
pub(crate) type Path = &'static [&'static str];

impl<'a> Workload<'a> {
    /// Wraps an object of a kind.
    pub(crate) fn of(kind: Kind, object: &'a Value) -> Self {
        Self { object, kind, meta: Meta::of(object), is_old: false }
    }

    /// Wraps the old object of an update.
    pub(crate) fn old(kind: Kind, object: &'a Value) -> Self {
        Self { is_old: true, ..Self::of(kind, object) }
    }

    /// Returns the path of the Pod template. A Pod is its own template.
    pub(crate) const fn template_path(&self) -> Path {
        match self.kind {
            Kind::CronJob => &["spec", "jobTemplate", "spec", "template"],
            Kind::Revision => &["data", "spec", "template"],
            Kind::Job | Kind::Template => &["spec", "template"],
            _ => &[],
        }
    }

    /// Returns the path of the Job's spec, for Jobs and `CronJobs`.
    pub(crate) const fn job_path(&self) -> Option<Path> {
        match self.kind {
            Kind::Job => Some(&["spec"]),
            Kind::CronJob => Some(&["spec", "jobTemplate", "spec"]),
            _ => None,
        }
    }

    /// Returns the path of the Job's spec, ready for a field to follow, and the spec, for Jobs and `CronJobs`.
    pub(crate) fn job_spec(&self) -> Option<(String, &'a Value)> {
        let path = self.job_path()?;
        Some((dotted(path), at(self.object, path)?))
    }

    /// Returns every path that has metadata, from the object to the Pod template.
    pub(crate) const fn holders(&self) -> &'static [Path] {
        match self.kind {
            Kind::CronJob => &[&[], &["spec", "jobTemplate"], &["spec", "jobTemplate", "spec", "template"]],
            Kind::Revision => &[&[], &["data", "spec", "template"]],
            Kind::Job | Kind::Template => &[&[], &["spec", "template"]],
            _ => &[&[]],
        }
    }

    /// Returns the metadata at a path.
    pub(crate) fn meta_at(&self, holder: Path) -> Meta<'a> {
        at(self.object, holder).map_or(Meta::none(), Meta::of)
    }

    /// Returns the Pod's spec.
    pub(crate) fn pod_spec(&self) -> Option<&'a Value> {
        at(self.object, self.template_path()).and_then(|template| at(template, &["spec"]))
    }

    /// Returns true unless a plug-in of the API server wrote a field of the Pod's spec. Plug-ins change only Pods, not
    /// templates, and before any webhook is called. `metadata.managedFields` still lists the fields of the request
    /// alone: the API server computes it before its plug-ins run, and a request cannot remove its own fields from it.
    pub(crate) fn is_authors(&self, field: &str) -> bool {
        let managers = || self.meta.managed_fields();
        let lists = |manager| at(manager, &["fieldsV1", "f:spec", &format!("f:{field}")]).is_some();
        self.kind != Kind::Pod || self.is_old || managers().next().is_none() || managers().any(lists)
    }

    /// Returns the path of a field of the Pod's spec in the object.
    pub(crate) fn pod_field(&self, field: &str) -> String {
        format!("{}spec.{field}", dotted(self.template_path()))
    }

    /// Sets a field of the Pod's spec.
    pub(crate) fn set_in_pod(&self, edits: &mut Edits<'_>, field: &str, value: Value) {
        edits.set(&[self.template_path(), &["spec", field]].concat(), value);
    }

    /// Returns the metadata of the Pod.
    pub(crate) fn pod_meta(&self) -> Meta<'a> {
        self.meta_at(self.template_path())
    }

    /// Returns the path of an annotation of the Pod in the object.
    pub(crate) fn pod_annotation(&self, key: &str) -> String {
        format!("{}{}", dotted(self.template_path()), annotation_path(key))
    }

    /// Returns all containers: those of the Pod, the init containers, and the ephemeral containers.
    pub(crate) fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.pod_spec();
        ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(move |list| {
            items(spec.and_then(|spec| spec.get(list))).enumerate().map(move |(index, container)| Container {
                value: container,
                list,
                index,
            })
        })
    }

    /// Returns true if the workload may be the run's own. A Deployment or similar object only manages Pods that the run
    /// started.
    pub(crate) const fn is_the_runs(&self) -> bool {
        matches!(self.kind, Kind::Job | Kind::CronJob | Kind::Pod)
    }

    /// Returns true if its containers run the same programs as those of `old`, from the same volumes. Fields that only
    /// limit them may differ.
    pub(crate) fn runs_the_same_as(&self, old: &Self) -> bool {
        const LIMITS: [&str; 3] = ["securityContext", "ports", "resources"];
        let program = |container: Container<'a>| {
            let fields = container.value.as_object().into_iter().flatten();
            let others: Vec<_> = fields.filter(|(key, _)| !LIMITS.contains(&key.as_str())).collect();
            (container.list, others)
        };
        let volumes = |of: &Self| of.pod_spec().and_then(|spec| at(spec, &["volumes"]));
        self.containers().map(program).eq(old.containers().map(program)) && volumes(self) == volumes(old)
    }

    /// Returns true if it claims to be the workload of a run: by its name or by its application label.
    pub(crate) fn is_of_a_run(&self, name: &str) -> bool {
        name.starts_with(names::JOB_PREFIX)
            || self.meta.label(keys::RUN_ID).is_some()
            || self
                .holders()
                .iter()
                .any(|holder| self.meta_at(holder).label(keys::APP_NAME) == Some(keys::APP_NAME_RUN))
    }
}

/// A container and its position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Container<'a> {
    /// The container.
    pub value: &'a Value,
    /// The list that contains it.
    pub list: &'static str,
    /// Its index in the list.
    pub index: usize,
}

impl Container<'_> {
    /// Returns the path of a field of the container in the object.
    pub(crate) fn field(&self, workload: &Workload<'_>, field: &str) -> String {
        workload.pod_field(&format!("{}[{}].{field}", self.list, self.index))
    }
}

/// Returns the text of a path, ready for a field to follow: `spec.template.`.
pub(crate) fn dotted(path: Path) -> String {
    path.iter().flat_map(|key| [key, "."]).collect()
}

/// A validation of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Validate {
    /// The state. On an update, the old object is validated too, so that only new violations are reported.
    State(fn(&Context<'_>, &Workload<'_>, &mut Report)),
    /// The change. The old object is `None` at creation.
    Transition {
        /// Returns true if the rule applies to the change.
        applies: fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>) -> bool,
        /// Compares the old object with the new one.
        validate: fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>, &mut Report),
    },
}

/// A mutation of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mutate {
    /// Adds missing values when the workload is created, and when an update of a workload with a template leaves them
    /// out.
    Creation(fn(&Context<'_>, &Workload<'_>, &mut Edits<'_>)),
    /// Sets values when the workload is created or changed. The old object is `None` at creation.
    Transition(fn(&Context<'_>, Option<&Workload<'_>>, &Workload<'_>, &mut Edits<'_>)),
}

/// A rule about workloads with its functions.
#[derive(Debug)]
pub(crate) struct Check {
    /// The rule.
    pub rule: &'static Rule,
    /// The validation.
    pub validate: Validate,
    /// The mutation.
    pub mutate: Option<Mutate>,
    /// True if a workload that violates the rule is not evaluated any further. Only that is reported then.
    pub decides_alone: bool,
    /// True if an update may keep a violation of the old object along with other changes. False if the rule is about
    /// what a Pod may do beyond its namespace: such a permission was granted to the program that runs there, and a user
    /// who replaces the program does not inherit it.
    pub inherited_violations_pass: bool,
    /// True if the rule applies to the platform's own stack in a slot too.
    pub applies_to_platform_stack: bool,
}

impl Check {
    /// Creates a check that changes nothing, is reported together with the others, lets inherited violations pass and
    /// exempts the platform's own stack.
    pub(crate) const fn new(rule: &'static Rule, validate: Validate) -> Self {
        Self {
            rule,
            validate,
            mutate: None,
            decides_alone: false,
            inherited_violations_pass: true,
            applies_to_platform_stack: false,
        }
    }

    /// Mutates with this function.
    #[must_use]
    pub(crate) const fn with_mutation(self, mutate: Mutate) -> Self {
        Self { mutate: Some(mutate), ..self }
    }

    /// Reports only this rule about a workload that violates it.
    #[must_use]
    pub(crate) const fn deciding_alone(self) -> Self {
        Self { decides_alone: true, ..self }
    }

    /// Reports a violation of the old object again if the update changes the program.
    #[must_use]
    pub(crate) const fn about_privileges(self) -> Self {
        Self { inherited_violations_pass: false, ..self }
    }

    /// Applies to the platform's own stack in a slot too.
    #[must_use]
    pub(crate) const fn also_for_platform_stack(self) -> Self {
        Self { applies_to_platform_stack: true, ..self }
    }
}

impl HasRule for Check {
    fn rule(&self) -> &'static Rule {
        self.rule
    }

    fn mutates(&self) -> bool {
        self.mutate.is_some()
    }
}
