# Every target sets up .venv by itself when it is absent or out of date.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint speed gpu

# Two small runs on the embedded digits, their gradient SNR, and the figures.
demo: .venv/installed
	$(BIN)/snrkit train --data digits --estimator vae --K 64 --set model.options.hidden=[64,64] --set model.options.latent=16 \
	  --epochs 40 --batch-size 100 --resume --out checkpoints/demo-vae
	$(BIN)/snrkit train --data digits --estimator iwae --K 64 --set model.options.hidden=[64,64] --set model.options.latent=16 \
	  --epochs 40 --batch-size 100 --resume --out checkpoints/demo-iwae
	$(BIN)/snrkit evaluate --ckpt checkpoints/demo-vae
	$(BIN)/snrkit evaluate --ckpt checkpoints/demo-iwae
	$(BIN)/snrkit snr --ckpt checkpoints/demo-vae --K 1,10,100,1000 --draws 400
	$(BIN)/snrkit snr --ckpt checkpoints/demo-iwae --K 1,10,100,1000 --draws 400
	$(BIN)/snrkit report checkpoints/demo-vae checkpoints/demo-iwae --out figures

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2

# Milliseconds per draw of each engine; uses CUDA where there is one.
speed: .venv/installed
	$(BIN)/python analyses/speed/run.py

# What needs an NVIDIA GPU: the tests marked so, and the benchmark there. Uses the Python at hand, whose torch has CUDA.
gpu:
	PYTHONPATH=. $(PYTHON) -m pytest -q -m gpu
	PYTHONPATH=. $(PYTHON) analyses/speed/run.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
