# make run    the first experiment of the paper, VIB on MNIST, from nothing to its table (again: it goes on or shows it)
# make test   ruff and pytest

PYTHON ?= python3
RUN = STORAGE/experiments/quant/mnist/vib/seed0

.PHONY: run test

run: .venv/installed
	.venv/bin/python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/vib \
		$(if $(wildcard $(RUN)/config.json),--resume)

test: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/pytest

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --requirement requirements.txt
	touch $@
