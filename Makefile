# The commands of this project. Each does the set-up that it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Threads that spin for long while they wait stall each other beside any other busy program (calm_ft/errors.py).
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 1000

.PHONY: setup demo demo-alone demo-replay test test-slow test-gpu lint format clean

setup: $(READY)  ## everything, Chatterbox too, into .venv (about 7 GB, mostly torch's CUDA libraries)

# uv compiles no modules by itself; compiled ones halve a command's start, and some containers never keep those they use.
$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
		{ echo "error: Python 3.11 or 3.12 is needed: make setup PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[chatterbox,evaluation,preparation,sweeps,dev]'
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt moonshine-voice || \
		echo "note: moonshine-voice has no wheel for this system; without a Whisper, PocketSphinx transcribes"
	touch $(READY)

demo: $(READY)  ## tune the embedded model to the demo voice, evaluate and export it: runs/demo; beside it with replay: runs/demo_replay
	rm -rf runs/demo runs/demo_replay
	mkdir -p runs
	$(MAKE) --no-print-directory -j2 demo-alone demo-replay
	@sed -n '/^demo_replay, step/,$$p' runs/demo_replay.log

# So small a model gains little from a second thread: two runs at once took 2:12 min, one after the other 3:46.
demo-alone:
	OMP_NUM_THREADS=1 $(BIN)/python scripts/train.py experiment=demo

demo-replay:
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/train.py experiment=demo data=replay output_dir=runs/demo_replay \
		> runs/demo_replay.log 2>&1 || { cat runs/demo_replay.log; exit 1; }

test: $(READY)  ## the tests that every change must pass, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(READY)  ## the long tests, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'slow and not gpu'

test-gpu: $(READY)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -q -m gpu

lint: $(READY)  ## check formatting, lint, types and import rules, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy calm_ft scripts tools tests benchmarks
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## fix formatting and what lint can fix by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what runs left behind
	rm -rf runs multirun outputs .pytest_cache .mypy_cache .ruff_cache
