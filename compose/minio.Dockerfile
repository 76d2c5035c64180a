# MinIO from its pinned source, as scripts/setup.py builds it: its makers publish no images any more.
FROM golang:1.24-bookworm AS build
ENV CGO_ENABLED=0 GOBIN=/out GOTOOLCHAIN=local
RUN go install -trimpath -ldflags="-s -w" github.com/minio/minio@v0.0.0-20250907161309-07c3a429bfed

FROM alpine:3.22
RUN adduser -D -u 1000 minio && mkdir /data && chown minio:minio /data
COPY --from=build /out/minio /usr/local/bin/minio
USER minio
ENTRYPOINT ["minio"]
