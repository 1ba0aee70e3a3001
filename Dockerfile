# The program on an empty base: `docker build .`. Without Docker, `make image` builds the same image.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN make image-root ROOT=/image

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/bin
USER 65532:65532
WORKDIR /
LABEL org.opencontainers.image.title="codex-k8s-guard" \
      org.opencontainers.image.description="Admission webhook, baseline reconciler and garbage collector for agent runs" \
      org.opencontainers.image.source="https://github.com/codex-k8s/codex-k8s-guard" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="scratch" \
      org.opencontainers.image.version="0.1.0"
ENTRYPOINT ["codex-k8s-guard"]
