# Asterisk with the AI bridge, its configuration and the practice agent. docs/docker.md tells how it is used, and
# `make image` also builds it where no registry can be reached.
#
# Debian forky is the first release that carries Asterisk 22; another image of it can stand in (--build-arg BASE=…).
# Optional secrets of the build, none of which remain: "ca", certificates to trust for HTTPS; "cargo", a config.toml.
ARG BASE=debian:forky-slim

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    asterisk-dev build-essential ca-certificates cargo libclang-dev libsqlite3-dev libssl-dev pkg-config
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY res_ai_bridge res_ai_bridge
COPY sidecar sidecar
# Only for the members of the workspace to be there.
COPY tests tests
RUN --mount=type=secret,id=ca --mount=type=secret,id=cargo,target=/root/.cargo/config.toml \
    --mount=type=cache,target=/root/.cargo/registry --mount=type=cache,target=/build/target \
    if [ -e /run/secrets/ca ]; then export CARGO_HTTP_CAINFO=/run/secrets/ca; fi && \
    cargo build --release --locked -p res_ai_bridge -p practice-agent && \
    modules=/out/usr/lib/$(gcc -print-multiarch)/asterisk/modules && \
    install -D -s -t /out/usr/local/bin target/release/practice-agent && \
    install -D -m 644 target/release/libres_ai_bridge.so "$modules/res_ai_bridge.so" && \
    strip --strip-debug "$modules/res_ai_bridge.so"

FROM ${BASE}
# The user exists before Asterisk's package makes one, so that its number is the same in every build: volumes keep it.
RUN printf 'path-exclude /usr/share/%s/*\n' doc info locale man >/etc/dpkg/dpkg.cfg.d/slim && \
    groupadd --system --gid 5060 asterisk && \
    useradd --system --uid 5060 --gid asterisk --home-dir /var/lib/asterisk --no-create-home --shell /usr/sbin/nologin asterisk && \
    apt-get update && apt-get install -y --no-install-recommends asterisk ca-certificates espeak-ng tzdata && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /etc/asterisk && \
    # Memory is mounted over these two: a file system of root's, with the mode of what it covers.
    mkdir -p /run/asterisk /var/log/asterisk && chmod 1777 /run/asterisk /var/log/asterisk && \
    chown -R asterisk:asterisk /var/lib/asterisk /var/spool/asterisk
COPY asterisk-conf /etc/asterisk
COPY res_ai_bridge/res_ai_bridge-en_US.xml /usr/share/asterisk/documentation/thirdparty/
COPY --from=build /out /
COPY docker/entrypoint.sh docker/configure.sh docker/healthcheck.sh /usr/local/bin/

USER 5060:5060
WORKDIR /var/lib/asterisk
VOLUME /var/lib/asterisk /var/spool/asterisk
EXPOSE 5060/udp 10000-10100/udp 9000/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
