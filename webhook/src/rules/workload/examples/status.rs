//! Examples of the rule about the status of a workload.

use crate::rules::example::User::{Agent, JobController, Kubelet, Worker};
use crate::rules::example::{Example, Object};

pub(in crate::rules::workload) const JOB025: &[Example] = &[
    Example::new("an agent marks its Job as succeeded")
        .by(Agent)
        .updates(Object::Job, "", "status: {succeeded: 1}")
        .on("status")
        .denied_at("status.succeeded"),
    Example::new("the platform marks a Job as succeeded")
        .by(Worker)
        .updates(Object::Job, "", "status: {succeeded: 1}")
        .on("status")
        .denied_at("status.succeeded"),
    Example::new("the Job controller counts the Pods of a Job")
        .by(JobController)
        .updates(Object::Job, "", "status: {succeeded: 1}")
        .on("status"),
    Example::new("an agent marks a Pod as succeeded")
        .by(Agent)
        .updates(Object::Pod, "status: {phase: Running}", "status: {phase: Succeeded}")
        .on("status")
        .denied_at("status.phase"),
    Example::new("a kubelet reports the end of a Pod")
        .by(Kubelet)
        .updates(Object::Pod, "status: {phase: Running}", "status: {phase: Succeeded}")
        .on("status"),
    Example::new("a person writes a condition of a Pod")
        .updates(
            Object::Pod,
            "status: {phase: Running}",
            "status: {conditions: [{type: example.com/reviewed, status: 'True'}]}",
        )
        .on("status"),
];
