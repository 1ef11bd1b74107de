# Caddy with all of BestDNS. Build: docker build -t bestdns .
#
#	docker run -d --name bestdns -p 53:53/udp -p 53:53 -p 443:443 -p 443:443/udp -p 80:80 \
#		-v ./Caddyfile:/etc/caddy/Caddyfile:ro -v bestdns:/data bestdns
#
# /data holds the records and the certificates: without a volume they go with the container.
#
# With modules of DNS providers, or others:
#
#	docker build -t bestdns --build-arg MODULES="github.com/caddy-dns/cloudflare@v0.2.4 github.com/caddy-dns/rfc2136@v1.0.0" .
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum *.go ./
COPY cmd ./cmd
COPY internal ./internal
COPY service ./service
COPY release/add-modules ./release/
ARG MODULES=""
RUN release/add-modules cmd/caddy $MODULES
# What "caddy bestdns version" prints; "devel" by default.
ARG VERSION=""
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
	go build -C cmd/caddy -trimpath -ldflags "-s -w -X github.com/caddy-dns/bestdns/internal/api.version=$VERSION" -o /out/caddy . \
	&& mkdir -p /out/data /out/config

# The root certificates, time zones and an unprivileged user, and no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/caddy /usr/bin/caddy
COPY --from=build --chown=nonroot:nonroot /out/data /data
COPY --from=build --chown=nonroot:nonroot /out/config /config
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME /data
EXPOSE 53/udp 53/tcp 80/tcp 443/tcp 443/udp
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
