PYTHON ?= python3
BIN := .venv/bin
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)
# a process a core, each with one thread. glibc gives large blocks back to the system at once, and
# the suite spent a third of its time on taking them again: let it keep them
TESTING := OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000

.PHONY: install demo test test-shapes test-slow explore mutants campaign check notebooks bench docs dist clean

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
	$(TESTING) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# the same with every argument's type and shape checked as it is passed, which takes twice as long
test-shapes: install
	$(TESTING) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --jaxtyping-packages=ntkscope,beartype.beartype

test-slow: install
	$(TESTING) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow

# the properties again, on examples that were not drawn before
explore: install
	$(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile=explore

# small wrong changes to the code, in a copy of it: a test must fail for each
mutants: install
	PYTHONPATH=tests $(BIN)/python -m mutants

# bad input for every option of every command, kills, flipped bits, fuzzed grammars and files: an hour
campaign: install
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m campaign --out out/campaign.json

# the site, to be opened as site/index.html; a warning, a dead link or anything loaded from elsewhere fails
docs: install
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs site
	$(BIN)/python docs/_ext/checked.py site

check: install docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest docs README.md --doctest-glob='*.md' -o addopts=-q

# wheel and source archive in dist/, the wheel then installed and run where nothing else of ours is
dist: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	PYTHONPATH=tests $(BIN)/python -m wheel_check dist

# the tutorials as notebooks, in out/notebooks
notebooks: install
	$(BIN)/python docs/notebooks.py

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf out build dist site .pytest_cache .mypy_cache .ruff_cache
