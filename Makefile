# The commands for people and CI. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo cluster cluster-down test test-versions test-node soak fuzz lint advisories figures bench generate pictures tools image image-root reproduce

CARGO ?= cargo
CACHE ?= $(or $(CODEX_K8S_GUARD_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/codex-k8s-guard,$(HOME)/.cache/codex-k8s-guard))
# Pinned versions of the tools that are not part of the Rust toolchain.
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
# Writes the bill of materials.
CYCLONEDX_VERSION := 0.5.9
CYCLONEDX := $(CACHE)/tools/cargo-cyclonedx-$(CYCLONEDX_VERSION)/bin/cargo-cyclonedx
# The programs of a release and of the image: linked statically on Linux, and independent of the place and time of the
# build. They have their own target folder, so that they never contain crates that were compiled with other flags.
HOST := $(shell rustc --version --verbose | sed -n 's/^host: //p')
TARGET := $(HOST)
IMAGE := target/image
CARGO_FILES := $(or $(CARGO_HOME),$(HOME)/.cargo)
# Debian's name of the compiler for a target. It links other targets only, because rustc uses another linker by itself than
# through a compiler that is named, and the bytes would differ.
compiler = $(subst -unknown,,$(1))-gcc
foreign = $(if $(filter $(HOST),$(1)),,$(2)=$(call compiler,$(1)))
LINKERS := $(call foreign,x86_64-unknown-linux-gnu,CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER) \
	$(call foreign,aarch64-unknown-linux-gnu,CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER)
IMAGE_ENV := $(LINKERS) RUSTFLAGS='-C target-feature=+crt-static' RUSTC_WRAPPER=$(CURDIR)/deploy/image/rustc.sh \
	GUARD_SOURCE=$(CURDIR) GUARD_CARGO=$(CARGO_FILES) SOURCE_DATE_EPOCH=0 CARGO_TARGET_DIR=$(IMAGE)/build \
	CFLAGS='-ffile-prefix-map=$(CURDIR)=/guard -ffile-prefix-map=$(CARGO_FILES)=/cargo'
PACK = $(PLAYGROUND) image --program $(MADE)$(IMAGE)/build/$(TARGET)/release/codex-k8s-guard --bom $(MADE)$(IMAGE)/$(TARGET).cdx.json
# The targets of a release that this machine can build: it has the compiler and Rust's standard library for them. Those
# of darwin need a Mac.
is_there = $(and $(shell command -v $(call compiler,$(1))),$(wildcard $(shell rustc --print target-libdir --target $(1))))
TARGETS ?= $(foreach target,x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu,$(if $(call is_there,$(target)),$(target)))
RELEASE := target/release-files
# The version to upgrade from: the chart of this commit, and its image if you provide target/before/image.tar.
PREVIOUS ?= HEAD~1
BEFORE := target/before
# Scenarios that start their own server or read its files, so they do not test what the chart installs.
OWN_SERVER := agent_jobs callers dry_run check guard_fight least_rights live modes outage reload render replays rollover
GUARD := $(CARGO) run --quiet --locked -p codex-k8s-guard --
LINT := $(CARGO) run --quiet --locked -p codex-k8s-lint
PLAYGROUND := $(CARGO) run --quiet --locked -p codex-k8s-tests --bin playground --

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

demo: ## Show the main features on a real local control plane
	@$(PLAYGROUND) demo

cluster: ## Start a guarded control plane and leave it running, to try things by hand
	@$(CARGO) build --quiet --locked -p codex-k8s-guard
	@$(PLAYGROUND) up

cluster-down: ## Stop the control plane of `make cluster`
	@$(PLAYGROUND) down

test: lint ## Run everything that CI runs
	$(PLAYGROUND) build
	$(CARGO) test --locked --workspace --no-fail-fast
	$(PLAYGROUND) versions --oldest --suites admission,baseline

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
	@mkdir -p $(IMAGE)
	SOURCE_DATE_EPOCH=0 $(CYCLONEDX) cyclonedx --quiet --format json --target $(TARGET) --no-build-deps \
		--manifest-path cli/Cargo.toml --override-filename codex-k8s-guard.cdx
	sed 's#$(CURDIR)#/guard#g' cli/codex-k8s-guard.cdx.json > $(IMAGE)/$(TARGET).cdx.json
	rm -f $(addsuffix /codex-k8s-guard.cdx.json,certs cli gc shared tests tests/lint webhook) # one of each crate

release: release-parts ## Pack what this machine can build of a release: target/release-files. TAG=v0.1.0 requires all of it
	$(PLAYGROUND) release --built $(IMAGE) --out $(RELEASE) $(if $(TAG),--tag $(TAG))

release-dry-run: release ## Pack the release of the last commit again in another folder, and compare
	rm -rf $(IMAGE)/again && git clone --quiet . $(IMAGE)/again
	$(MAKE) --directory $(IMAGE)/again release-parts
	$(PLAYGROUND) release --source $(IMAGE)/again --built $(IMAGE)/again/$(IMAGE) --out $(IMAGE)/again/$(RELEASE)
	diff --recursive $(RELEASE) $(IMAGE)/again/$(RELEASE)
	@echo 'the same bytes twice: $(TARGETS)'
	rm -rf $(IMAGE)/again

.PHONY: release release-dry-run release-parts
release-parts:
	$(foreach target,$(TARGETS),$(MAKE) image-parts TARGET=$(target) &&) true

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

advisories: $(CARGO_DENY) ## Compare the dependencies with the advisories about them (fetches their database)
	$(CARGO_DENY) check advisories

figures: ## Print figures about the code: circular uses, public items, lengths
	@$(LINT) -- figures

bench: $(if $(filter-out webhook load reconcile sweep check replay api-server,$(or $(SECTIONS),image)),image) ## Measure against a server that allows everything (the floor), in one run
	CODEX_K8S_GUARD_IMAGE=$(CURDIR)/$(IMAGE)/codex-k8s-guard.tar \
		$(CARGO) run --locked --release -p codex-k8s-tests --bin playground -- bench $(SECTIONS)

pictures: ## Record the demo and take screenshots of the page for README.md: docs/images
	$(PLAYGROUND) pictures

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
