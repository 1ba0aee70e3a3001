# The commands for people and CI. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo cluster cluster-down test test-versions test-node soak fuzz lint figures bench generate tools image image-root reproduce

CARGO ?= cargo
CACHE ?= $(or $(CODEX_K8S_GUARD_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/codex-k8s-guard,$(HOME)/.cache/codex-k8s-guard))
# Pinned versions of the tools that are not part of the Rust toolchain.
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
# Writes the bill of materials.
CYCLONEDX_VERSION := 0.5.9
CYCLONEDX := $(CACHE)/tools/cargo-cyclonedx-$(CYCLONEDX_VERSION)/bin/cargo-cyclonedx
# The image: its program is linked statically, and does not depend on the place or time of the build. It has its own
# target folder, so that it never contains crates that were compiled with other flags.
TARGET := $(shell rustc --version --verbose | sed -n 's/^host: //p')
IMAGE := target/image
CARGO_FILES := $(or $(CARGO_HOME),$(HOME)/.cargo)
IMAGE_ENV := RUSTFLAGS='-C target-feature=+crt-static' RUSTC_WRAPPER=$(CURDIR)/deploy/image/rustc.sh \
	GUARD_SOURCE=$(CURDIR) GUARD_CARGO=$(CARGO_FILES) SOURCE_DATE_EPOCH=0 CARGO_TARGET_DIR=$(IMAGE)/build \
	CFLAGS='-ffile-prefix-map=$(CURDIR)=/guard -ffile-prefix-map=$(CARGO_FILES)=/cargo'
PACK = $(PLAYGROUND) image --program $(MADE)$(IMAGE)/build/$(TARGET)/release/codex-k8s-guard --bom $(MADE)$(IMAGE)/codex-k8s-guard.cdx.json
# The version to upgrade from: the chart of this commit, and its image if you provide target/before/image.tar.
PREVIOUS ?= HEAD~1
BEFORE := target/before
# Scenarios that start their own server or read its files, so they do not test what the chart installs.
OWN_SERVER := agent_jobs callers dry_run check guard_fight least_rights live modes outage reload render replays rollover
GUARD := $(CARGO) run --quiet --locked -p codex-k8s-guard --
LINT := $(CARGO) run --quiet --locked -p codex-k8s-lint
PLAYGROUND := $(CARGO) run --quiet --locked -p codex-k8s-tests --bin playground --

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

demo: ## Show the main features on a real local control plane
	@$(PLAYGROUND) demo

cluster: ## Start a guarded control plane and leave it running, to try things by hand
	@$(PLAYGROUND) up

cluster-down: ## Stop the control plane of `make cluster`
	@$(PLAYGROUND) down

test: lint ## Run everything that CI runs
	$(PLAYGROUND) build
	$(CARGO) test --locked --workspace --no-fail-fast

test-versions: ## Run the suites about the API server on every version of Kubernetes, and write docs/versions.md
	$(PLAYGROUND) versions --write

test-node: image ## Run the tests on a real node (needs root; takes some minutes more the first time)
	rm -rf $(BEFORE)/deploy && mkdir -p $(BEFORE) && git archive $(PREVIOUS) deploy/chart | tar -x -C $(BEFORE)
	CODEX_K8S_GUARD_IMAGE=$(CURDIR)/$(IMAGE)/codex-k8s-guard.tar CODEX_K8S_GUARD_BEFORE=$(CURDIR)/$(BEFORE) \
		$(CARGO) test --locked -p codex-k8s-tests --test node -- --ignored --test-threads=1 --nocapture
	CODEX_K8S_GUARD_IMAGE=$(CURDIR)/$(IMAGE)/codex-k8s-guard.tar CODEX_K8S_GUARD_ON_NODE=1 \
		$(CARGO) test --locked -p codex-k8s-tests --test admission -- $(foreach part,$(OWN_SERVER),--skip $(part)::) \
			--skip a_kubelet_asks --skip a_pod_that_has_not_run --skip a_pod_does_not_take # NodeRestriction denies the requests of their simulated kubelet

image: image-parts ## Pack the image as an OCI archive, without a daemon: target/image/codex-k8s-guard.tar
	$(PACK) --out $(IMAGE)/codex-k8s-guard.tar

image-root: image-parts # for the Dockerfile
	$(PACK) --root $(ROOT)

reproduce: private MADE = $(IMAGE)/again/
reproduce: image ## Pack the image of the last commit again in another folder, and compare
	rm -rf $(IMAGE)/again && git clone --quiet . $(IMAGE)/again
	$(MAKE) --directory $(IMAGE)/again image-parts
	$(PACK) --out $(IMAGE)/again.tar
	cmp $(IMAGE)/codex-k8s-guard.tar $(IMAGE)/again.tar
	rm -rf $(IMAGE)/again $(IMAGE)/again.tar

.PHONY: image-parts
image-parts: $(CYCLONEDX)
	$(IMAGE_ENV) $(CARGO) build --locked --release --target $(TARGET) -p codex-k8s-guard
	mkdir -p $(IMAGE)
	SOURCE_DATE_EPOCH=0 $(CYCLONEDX) cyclonedx --quiet --format json --target $(TARGET) --no-build-deps \
		--manifest-path cli/Cargo.toml --override-filename codex-k8s-guard.cdx
	sed 's#$(CURDIR)#/guard#g' cli/codex-k8s-guard.cdx.json > $(IMAGE)/codex-k8s-guard.cdx.json
	rm -f $(addsuffix /codex-k8s-guard.cdx.json,certs cli gc shared tests tests/lint webhook) # one of each crate

soak: ## Create and delete 500 run namespaces, and send 5000 generated workloads
	CODEX_K8S_GUARD_CYCLES=500 $(CARGO) test --locked -p codex-k8s-tests --test quota -- cycles
	CODEX_K8S_GUARD_WORKLOADS=5000 $(CARGO) test --locked -p codex-k8s-tests --test admission -- no_workload_with_any --nocapture

fuzz: ## Fuzz the parser of manifests for a minute
	CODEX_K8S_GUARD_FUZZ_SECONDS=60 $(CARGO) test --locked --release -p codex-k8s-webhook --test check_fuzz -- --nocapture

lint: $(CARGO_DENY) ## Check format, names, prose, layout, lints, docs and dependencies
	$(CARGO) fmt --all --check
	$(LINT)
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps
	$(CARGO_DENY) --log-level error check bans licenses sources

figures: ## Print figures about the code: circular uses, public items, lengths
	@$(LINT) -- figures

bench: $(if $(filter-out webhook load reconcile sweep check replay api-server,$(or $(SECTIONS),image)),image) ## Measure against a server that allows everything (the floor), in one run
	CODEX_K8S_GUARD_IMAGE=$(CURDIR)/$(IMAGE)/codex-k8s-guard.tar \
		$(CARGO) run --locked --release -p codex-k8s-tests --bin playground -- bench $(SECTIONS)

generate: ## Write the files that are generated from the code
	$(GUARD) explain --markdown > docs/rules.md
	$(GUARD) policy schema > docs/run-policy.schema.json
	$(GUARD) policy diff --schema > docs/policy-diff.schema.json
	$(GUARD) check --schema > docs/check-report.schema.json
	$(GUARD) check --schema=rollout > docs/rollout-report.schema.json
	$(GUARD) replay --schema > docs/replay-report.schema.json
	$(GUARD) register --print > deploy/base/webhook-configurations.yaml
	cp deploy/grafana/codex-k8s-guard.json deploy/chart/files/dashboard.json
	CODEX_K8S_GUARD_WRITE_SNAPSHOTS=1 $(CARGO) test --locked -q -p codex-k8s-tests --test chart -- what_is_rendered documented_as

tools: $(CARGO_DENY) $(CYCLONEDX) ## Install the pinned tools into the cache

$(CARGO_DENY):
	$(CARGO) install --quiet --locked --root $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION) cargo-deny@$(CARGO_DENY_VERSION)

$(CYCLONEDX):
	$(CARGO) install --quiet --locked --root $(CACHE)/tools/cargo-cyclonedx-$(CYCLONEDX_VERSION) cargo-cyclonedx@$(CYCLONEDX_VERSION)
