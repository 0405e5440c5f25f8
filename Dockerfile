# One image for every process of ours; the command picks which. Needs `make gen` first, and no BuildKit.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS install
# `--no-index --find-links .` takes the wheels of build/wheelhouse alone, where there is no package registry.
ARG PIP_OPTIONS=""
WORKDIR /install
COPY runtime.lock build/wheelhouse* ./
RUN python3 -m venv /opt/astra \
 && /opt/astra/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes ${PIP_OPTIONS} -r runtime.lock \
 && /opt/astra/bin/pip uninstall --quiet --yes pip

FROM ${PYTHON_IMAGE}
COPY --from=install /opt/astra /opt/astra
WORKDIR /app
COPY gen/python gen/python
COPY gen/descriptors.binpb gen/
COPY services services
COPY bridge bridge
COPY envoy envoy
COPY gateway gateway
ENV PATH=/opt/astra/bin:$PATH PYTHONUNBUFFERED=1 ASTRA_MESH=/var/lib/astra/configuration/mesh.json ASTRA_PULSE=/tmp/pulse
RUN echo /app/gen/python > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/astra-gen.pth" \
 && python -m compileall -q services bridge envoy gateway gen \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/astra
USER 10001:10001
RUN python -m services.containers folders
# A process touches the file every second while it does its work.
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
  CMD test $(( $(date +%s) - $(stat -c %Y "$ASTRA_PULSE") )) -le 10
CMD ["python", "-m", "services", "--help"]
