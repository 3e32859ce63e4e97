# The image of every machine of a cluster: docker build -f docs/cluster.Dockerfile -t ... .
FROM python:3.11.14-bookworm
RUN useradd --uid 1000 --create-home stable-diffusion
WORKDIR /src
COPY scripts/setup scripts/setup
COPY locked locked
# torch brings its own CUDA libraries; the machine has the driver.
RUN PIP_NO_CACHE_DIR=1 scripts/setup requirements.txt requirements-cluster.txt
COPY . .
ENV PATH=/src/.venv/bin:$PATH PYTHONPATH=/src PYTHONDONTWRITEBYTECODE=1
# All of /src stays root's. A number, as Kubernetes wants it to know that it is not root.
USER 1000:1000
