# Every target sets up .venv by itself when it is absent or out of date.
PYTHON ?= python3
BIN := .venv/bin
# The versions that are installed: those that results were made with, or another file's (see .ci/).
CONSTRAINTS ?= constraints.txt
REPORT := $(BIN)/snrkit report --html --quiet --out
PAPER := analyses/rainforth2018
# One thread a process; bytecode is kept, or every process would compile all of snrkit and pytest rewrite all tests again.
TESTING := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
DRAWN := $(addprefix figures-,rainforth2018 digits toy rainforth2018-curves mcharrak2021 burda2016 discrete2020)

.PHONY: demo docs extras figures $(DRAWN) test slow lint wheel speed gpu gpu-sweep gpu-evaluate

# Two small runs on the embedded digits, their gradient SNR, figures and a page that tells the story.
demo: .venv/installed
	$(BIN)/snrkit train --data digits --estimator vae --K 64 --set model.options.hidden=[64,64] --set model.options.latent=16 \
	  --epochs 40 --batch-size 100 --resume --out checkpoints/demo-vae
	$(BIN)/snrkit train --data digits --estimator iwae --K 64 --set model.options.hidden=[64,64] --set model.options.latent=16 \
	  --epochs 40 --batch-size 100 --resume --out checkpoints/demo-iwae
	$(BIN)/snrkit evaluate --ckpt checkpoints/demo-vae
	$(BIN)/snrkit evaluate --ckpt checkpoints/demo-iwae
	$(BIN)/snrkit snr --ckpt checkpoints/demo-vae --K 1,10,100,1000 --draws 400
	$(BIN)/snrkit snr --ckpt checkpoints/demo-iwae --K 1,10,100,1000 --draws 400
	$(BIN)/snrkit report checkpoints/demo-vae checkpoints/demo-iwae --out checkpoints/demo-figures --html

# All figures, tables and pages of the committed analyses, from their committed tables.
figures: .venv/installed
	$(MAKE) --no-print-directory --jobs 2 $(DRAWN)

figures-digits: ; $(REPORT) figures/digits analyses/digits/results
figures-toy: ; $(REPORT) figures/toy analyses/toy/results
figures-rainforth2018: ; $(REPORT) figures/rainforth2018 $(PAPER)/results/cpu/runs/*-13 $(PAPER)/rainforth2018.published.csv
figures-rainforth2018-curves: ; $(REPORT) figures/rainforth2018-curves $(PAPER)/results/cpu/runs/*-4 \
	  --figure metrics_vs_m --figure metrics_vs_beta
figures-mcharrak2021: ; $(REPORT) figures/mcharrak2021 analyses/mcharrak2021/results --figure generalisation \
	  --figure learned_beta
figures-burda2016: ; $(REPORT) figures/burda2016 analyses/burda2016/results
figures-discrete2020: ; $(REPORT) figures/discrete2020 analyses/discrete2020/results/cpu/snr.parquet --column a4 \
	  --figure snr_vs_k

# The documentation site, build/site/index.html, to be read without network; its tutorials are run. Warnings are errors.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: .venv/installed
	$(TESTING) $(BIN)/pytest -q -n 2 -m "not slow"

# What takes longer: every engine on every awkward model, processes that are killed, whole figures.
slow: .venv/installed
	$(TESTING) $(BIN)/pytest -q -n 2 -m slow

# The tests against libraries that are extras, none of which may be absent, in an environment of their own on top of .venv's.
extras: .venv-extras/installed
	SNRKIT_EXTRAS=required $(TESTING) .venv-extras/bin/python -m pytest -q -n 2 -m extra

# Milliseconds per draw of each engine; uses CUDA where there is one.
speed: .venv/installed
	$(BIN)/python -m analyses.speed.run

# All that one visit to an NVIDIA GPU is to find out, in MINUTES: the tests marked so, then the benchmark, whose results lie
# under analyses/speed/results and, with what was printed, in OUT. Uses the Python at hand, whose torch has CUDA; see
# analyses/speed/INTRO.md for a machine without a network.
MINUTES ?= 9
OUT ?= build/gpu
gpu:
	$(PYTHON) -m analyses.speed.visit --minutes $(MINUTES) --out $(OUT)

# A slice of MINUTES of the full-scale runs (analyses/rainforth2018/units.toml): SIDE runs side by side, those of SEED. The
# same command goes on from STATE, which git ignores, and says what the next slice would do; what is finished is exported in
# compact form. `python -m analyses.rainforth2018.state` keeps a STATE between visits in the repository.
GRID ?= $(PAPER)/full.toml
SEED ?= 0
SIDE ?= 5
EPOCHS ?= 3280
PRECISION ?= float32
STATE ?= .sweep-state
EXPORT ?= $(PAPER)/runs-full
gpu-sweep:
	PYTHONPATH=. $(PYTHON) -m snrkit sweep $(GRID) --device cuda --set grid.seed=[$(SEED)] --set epochs=$(EPOCHS) \
	  --set precision=$(PRECISION) --ensemble $(SIDE) --time-limit $(MINUTES)m --out $(STATE) --export $(EXPORT)

# What of the finished runs in STATE is not evaluated yet, on the whole test set, for MINUTES; then exported.
gpu-evaluate:
	PYTHONPATH=. $(PYTHON) -m analyses.rainforth2018.evaluate $(STATE) --device cuda --minutes $(MINUTES) --export $(EXPORT)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The wheel, built and installed alone into an environment of its own, and used there: docs/start.md up to its first table, by
# the clock, and from training to report.
wheel:
	rm -rf build  # what an earlier build left there would go into the wheel
	$(PYTHON) .ci/start build $(CONSTRAINTS)
	.ci/wheel build/alone/bin

.venv/installed: setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

# What .venv has is found there and not fetched again, torch above all; most of the rest is never imported, so not compiled.
EXTRAS := lightning,transformers,pyro,pythae,gpytorch,writers
.venv-extras/installed: .venv/installed setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv --clear .venv-extras
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > $$(.venv-extras/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	.venv-extras/bin/pip install -q --no-compile --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	touch $@
