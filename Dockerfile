# One static program, no shell, no root. `docker build -t quorate:0.1.0 .`
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
RUN cargo build --release --locked --bin quorate

FROM scratch
COPY --from=build /src/target/release/quorate /quorate
USER 65532:65532
ENTRYPOINT ["/quorate"]
