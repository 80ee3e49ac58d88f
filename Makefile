# Everything from a fresh clone: `make demo` runs the main job, `make test` passes the tests. Both set up .venv themselves.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/ready
	$(BIN)/anomirror demo --out demo-out

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=5

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# torch first and alone: on a machine without CUDA its plain wheel would bring gigabytes of it
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[report,test]'
	touch $@

clean:
	rm -rf .venv demo-out build dist
