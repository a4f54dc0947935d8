# make run    the first experiment of the paper, VIB on MNIST, from nothing to its table (again: it goes on or shows it)
# make test   ruff, basedpyright and pytest

PYTHON ?= python3
RUN = STORAGE/experiments/quant/mnist/vib/seed0

.PHONY: run test

run: .venv/installed
	.venv/bin/python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/vib \
		$(if $(wildcard $(RUN)/config.json),--resume)

test: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/basedpyright --pythonpath .venv/bin/python
	OMP_NUM_THREADS=1 .venv/bin/pytest -n auto --dist=loadfile

.venv/installed: requirements.txt
	@$(PYTHON) -c "import ensurepip" || { echo "$(PYTHON) has no venv: on Debian and Ubuntu, apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@echo "installing requirements.txt: 6 GB on Linux x86-64, most of it CUDA"
	.venv/bin/pip install --requirement requirements.txt
	# Only to compare our attacks with; of what it asks for, the drawing of curves cannot be built any more.
	.venv/bin/pip install --quiet --no-deps adv-lib==0.2.8
	touch $@
