PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-slow explore mutants check bench clean

install: .venv/installed

# pip, not uv: the pinned torch is installed as the CPU build where pip is set up to find it
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/ntkscope inspect --data digits --widths 64,2048,512,1 --activation relu --init he --seed 0 --out out/demo

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow

# the properties again, on examples that were not drawn before
explore: install
	$(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile=explore

# small wrong changes to the code, in a copy of it: a test must fail for each
mutants: install
	PYTHONPATH=tests $(BIN)/python -m mutants

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest docs README.md --doctest-glob='*.md' -o addopts=-q

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache
