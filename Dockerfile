FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/src/target --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked && cp target/release/headwater /headwater

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin headwater \
    && install -d -o headwater -g headwater /data
COPY --from=build /headwater /usr/local/bin/headwater
USER 10001
WORKDIR /data
# Everything that is written is here: the image runs with --read-only.
VOLUME /data
EXPOSE 8646
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["headwater", "status", "--quick", "--data-dir", "/data/node"]
ENTRYPOINT ["headwater"]
CMD ["demo", "--data-dir", "/data/node", "--listen", "0.0.0.0:8646", "--allow-remote"]
