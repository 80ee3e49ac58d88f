# Everything from a fresh clone: `make demo` runs the main job, `make test` passes the tests. Both set up .venv themselves.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test check wheel clean

demo: .venv/ready
	$(BIN)/anomirror demo --out demo-out

test: check wheel
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=5

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# what a user installs: built, put into an environment without this folder, and run
FRESH := build/fresh
PURELIB := import sysconfig; print(sysconfig.get_path("purelib"))
wheel: .venv/ready
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv $(FRESH)
	$(BIN)/python -c '$(PURELIB)' > "$$($(FRESH)/bin/python -c '$(PURELIB)')/dependencies.pth"
	$(FRESH)/bin/python -m pip install --quiet --no-deps build/wheel/anomirror-*.whl
	cd build && fresh/bin/python -I ../tests/installed.py
	cd build && fresh/bin/anomirror demo --out demo

# torch first and alone: on a machine without CUDA its plain wheel would bring gigabytes of it
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[report,test]'
	touch $@

clean:
	rm -rf .venv demo-out build dist
