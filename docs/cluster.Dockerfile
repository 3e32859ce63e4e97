# The image of every machine of a cluster: docker build -f docs/cluster.Dockerfile -t ... .
FROM python:3.11
WORKDIR /src
COPY requirements.txt requirements-cluster.txt ./
# torch brings its own CUDA libraries; the machine has the driver.
RUN pip install --no-cache-dir -r requirements.txt -r requirements-cluster.txt
COPY . .
ENV PYTHONPATH=/src PYTHONDONTWRITEBYTECODE=1
