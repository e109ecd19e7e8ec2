# The app alone, for compose.yaml or `docker run`: CPU wheels, and a user that is not root.
FROM python:3.12-slim

# The user has no home to write in; umap-learn's numba keeps compiled code, the app decoded photos.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba EXPLORER_CACHE=/tmp/explorer \
    EXPLORER_DATABASE=sqlite:////rooms/rooms.sqlite
RUN useradd --uid 1000 --no-create-home explorer && mkdir /rooms && chown explorer /rooms
WORKDIR /app

# Without torch's dependencies: its index has not all versions of them, PyPI has those of the constraints.
COPY requirements.txt constraints.txt ./
RUN pip install --no-deps torch -c constraints.txt --index-url https://download.pytorch.org/whl/cpu \
    && pip install -r requirements.txt -c constraints.txt

COPY .streamlit .streamlit
COPY app.py ./
COPY pages pages
COPY explorer explorer
COPY checkpoints checkpoints

USER explorer
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health')"]
CMD ["streamlit", "run", "app.py", "--server.headless=true", "--server.address=0.0.0.0", "--server.port=8501"]
