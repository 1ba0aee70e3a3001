//! What a run namespace is: labels, names, lease and policy. No HTTP, no Kubernetes client.
