# docker build -t vecserve .                                  for CPUs
# docker build -t vecserve:cuda --build-arg RUNTIME=gpu .     for CUDA: its libraries come with the packages
# docker build -t vecserve:openvino --build-arg RUNTIME=openvino .
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
ARG RUNTIME=cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY export export
COPY server server
COPY container/install.sh container/
RUN python3 -m pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheel . \
    && container/install.sh /wheel/*.whl "${RUNTIME}" /opt/vecserve

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="vecserve" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vecserve
COPY --from=build /opt/vecserve /opt/vecserve
COPY container/serve.sh container/healthy.sh /usr/local/bin/
ENV PATH=/opt/vecserve/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    VECSERVE_ADDRESS=0.0.0.0:50051 \
    VECSERVE_MODELS=/models
USER 10001:10001
EXPOSE 50051
VOLUME ["/models"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthy.sh"]
ENTRYPOINT ["serve.sh"]
