//! A real control plane as a fixture: etcd, kube-apiserver and kube-controller-manager on loopback; a real
//! [PostgreSQL](postgres::Postgres) and a real [browser](chromium::Chromium).
//!
//! ```no_run
//! use codex_k8s_tests::{ControlPlane, Identity};
//!
//! # fn main() -> anyhow::Result<()> {
//! let control_plane = ControlPlane::start("playground".as_ref())?;
//! let jane = Identity::user("jane").in_group("developers");
//! let created = control_plane.kubectl(&jane)?.run(&["create", "namespace", "codex-issue-demo"])?;
//! assert!(created.succeeded(), "{created}");
//! # Ok(())
//! # }
//! ```
//!
//! The processes are children of a supervisor that reads from a pipe of this process. When this process ends for any
//! reason, the pipe closes and the supervisor ends them; when the supervisor is killed, the kernel ends them.

pub mod bench;
pub mod binaries;
pub mod caller;
pub mod chart;
pub mod chromium;
pub mod cluster;
pub mod connect_proxy;
pub mod control_plane;
mod debian;
pub mod demo;
pub mod eventually;
pub mod fault_proxy;
pub mod guard;
pub mod health;
pub mod helm;
pub mod identity;
pub mod image;
pub mod kubectl;
pub mod kubelet;
pub mod load;
pub mod node;
pub mod page;
pub mod pictures;
pub mod postgres;
pub mod process;
pub mod release;
pub mod review;
pub mod shells;
pub mod supervisor;
pub mod versions;
pub mod webhook;

pub use caller::{Answer, Caller};
pub use chromium::Chromium;
pub use control_plane::ControlPlane;
pub use eventually::eventually;
pub use guard::Guard;
pub use health::Health;
pub use identity::Identity;
pub use kubectl::{Kubectl, Ran};
pub use kubelet::Kubelet;
pub use node::Node;
pub use postgres::Postgres;
pub use shells::Shells;
pub use webhook::{Reconciler, Webhook};
