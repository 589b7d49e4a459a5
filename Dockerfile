# The gate in a container: one program, an account that is not root, a root that may be read-only, one volume with the whole
# installation. docs/administrator.md, "In a container", says how it is run; packaging/image.sh builds and tries it without Docker.
#
#   docker build -t holdpoint .
#   docker build -t holdpoint --build-arg PROGRAM=outside .     # around packaging/out/holdpoint, which was built before

ARG PROGRAM=built

FROM docker.io/library/node:20-bookworm-slim AS node

FROM docker.io/library/rust:1.95-bookworm AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /source
COPY . .
RUN packaging/release

# The program alone, so that whoever keeps stages keeps no folder of a build.
FROM scratch AS built
COPY --from=build /source/packaging/out/holdpoint /holdpoint

FROM scratch AS outside
COPY packaging/out/holdpoint /holdpoint

FROM ${PROGRAM} AS program

FROM docker.io/library/debian:bookworm-slim
RUN useradd --system --user-group --uid 990 --no-create-home --home-dir /var/lib/holdpoint --shell /usr/sbin/nologin holdpoint \
    && install -d -m 750 -o holdpoint -g holdpoint /var/lib/holdpoint
COPY --from=program /holdpoint /usr/bin/holdpoint
USER 990:990
WORKDIR /var/lib/holdpoint
VOLUME /var/lib/holdpoint
EXPOSE 2222 8443 9443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=15m \
    CMD ["holdpoint", "status", "--local", "--config", "/var/lib/holdpoint/gate/holdpoint.toml"]
ENTRYPOINT ["holdpoint"]
CMD ["serve", "--log-json", "--config", "/var/lib/holdpoint/gate/holdpoint.toml"]
