# docker build -t wnet-fsr .                      (in a clone)    CPU and NVIDIA GPUs: PyTorch's default build has both
# docker run --rm -v "$PWD:/data" wnet-fsr restore /data/photos -o /data/restored
# docker run --rm --gpus all --ipc host -v "$PWD:/data" --entrypoint basicsr wnet-fsr train -opt /data/my_options.yml
FROM python:3.11-slim-bookworm

# A compiler for BasicSR's build; libgl1 and libglib2.0-0 for OpenCV.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN pip install --no-cache-dir torch torchvision numpy cython setuptools wheel

COPY setup.py pyproject.toml LICENSE /opt/wnet-fsr/
COPY docs/guides/pypi.md /opt/wnet-fsr/docs/guides/pypi.md
COPY wnet_arch /opt/wnet-fsr/wnet_arch
COPY baselines /opt/wnet-fsr/baselines
RUN python /opt/wnet-fsr/wnet_arch/install_basicsr.py --no-cache-dir
RUN pip install --no-cache-dir --no-build-isolation "/opt/wnet-fsr[landmarks,report,onnx]" /opt/wnet-fsr/baselines

# Third-party weights are fetched on first use; a volume keeps them: -v wnet-cache:/cache
ENV WNET_CACHE=/cache
WORKDIR /data
ENTRYPOINT ["wnet"]
CMD ["--help"]
