# One image for the web process and for every worker; docker-compose.yml says which one runs.
# CPU:  docker build -t autoannotator:cpu .
# CUDA: docker build -t autoannotator:cuda \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# To pin an image by its content too, write NAME:TAG@sha256:DIGEST; `docker buildx imagetools inspect
# NAME:TAG` prints the digest.
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TOKENIZERS_PARALLELISM=false \
    OMP_WAIT_POLICY=PASSIVE \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# The sandbox of generated code. Where the container may not make namespaces, as under Docker's own
# profile, Landlock takes its place.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# torch first and from its own index: the default index may bring gigabytes of CUDA along. It is not
# in the lock, since each index has builds, and so hashes, of its own.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" torch==2.13.0
# Everything else as `make lock` wrote it, torch's own needs among it. --no-deps: the lock is whole,
# and leaves out label-studio-ml's old Flask on purpose (pyproject.toml).
COPY requirements.lock ./
RUN pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock

# A named volume that is mounted at /data takes its owner from here. It is empty here, because
# containers that start together would copy its content into a new volume at the same time.
RUN useradd --create-home --uid 10001 app && install -d -o app -g app /data
ENV DATA_DIR=/data \
    MODEL_DIR=/data/models \
    HF_HOME=/data/huggingface

COPY _wsgi.py ./
COPY specialists/ ./specialists/
COPY meta_controller/ ./meta_controller/
COPY training/ ./training/
COPY backend/ ./backend/
# The code belongs to root; whatever the umask of the checkout was, app may read it.
RUN chmod -R a+rX .

# By number, so that Kubernetes sees that it is not root.
USER 10001
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9090/health', timeout=5)"]
CMD ["python", "-m", "gunicorn", "--no-control-socket", "--logger-class", "backend.web.server_log.ServerLog", "--worker-class", "gthread", "--workers", "1", "--threads", "16", "--bind", "0.0.0.0:9090", "--timeout", "120", "_wsgi:app"]
