# The service in a small image: docker build --build-arg TORCH_INDEX=URL --tag llmrec .
#
# TORCH_INDEX is the URL of a package index with CPU builds of torch, which are a tenth of the size of those for GPUs.
# Left empty, torch comes from wherever pip is told to look.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/llmrec
WORKDIR /src
COPY constraints.txt ./
RUN /opt/llmrec/bin/pip install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} torch
COPY pyproject.toml README.md LICENSE ./
COPY prompts ./prompts
COPY llmrec ./llmrec
RUN /opt/llmrec/bin/pip install --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} ".[serve,postgres]"

FROM python:${PYTHON}-slim AS run
RUN groupadd --gid 10001 llmrec \
    && useradd --uid 10001 --gid llmrec --no-create-home --home-dir /var/lib/llmrec --shell /usr/sbin/nologin llmrec \
    && install --directory --owner=llmrec --group=llmrec /var/lib/llmrec /bundles
COPY --from=build /opt/llmrec /opt/llmrec
COPY --chmod=0755 deploy/entrypoint /usr/local/bin/llmrec-entrypoint
ENV PATH=/opt/llmrec/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    LLMREC_CACHE=/var/lib/llmrec/cache \
    LLMREC_STORE=/var/lib/llmrec/store.sqlite
USER 10001:10001
WORKDIR /var/lib/llmrec
# The store (SQLite) and the cache; bundles, beside which a refit writes the next one.
VOLUME ["/var/lib/llmrec", "/bundles"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["llmrec-entrypoint"]
CMD ["serve", "/bundles/default", "--host", "0.0.0.0", "--port", "8080"]
