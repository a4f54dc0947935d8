import json

import pytest
from conftest import contents, points
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from custom_pkg.run_folder import RunFolder
from custom_pkg.run_log import RunLog, cut


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("a", 0)
    folder.path.mkdir(parents=True)
    folder.tensorboard.mkdir(parents=True)
    return folder


def values(of: float) -> dict[str, float]:
    return {f"group/{n}": of + n for n in range(20)}


def test_scalars_are_in_both_files_and_texts_in_tensorboard(folder):
    log = RunLog(folder)
    log.scalars({"train/loss": 0.5}, epoch=1, step=10)
    log.scalars({"train/loss": 0.25, "eval/accuracy": 1.0}, epoch=2, step=20)
    log.text("options", "--model=vib")
    log.close()
    assert [json.loads(line) for line in folder.metrics.read_text().splitlines()] == [
        {"epoch": 1, "step": 10, "train/loss": 0.5}, {"epoch": 2, "step": 20, "train/loss": 0.25, "eval/accuracy": 1.0},
    ]
    assert points(folder.tensorboard) == [("eval/accuracy", 20, 1.0), ("train/loss", 10, 0.5), ("train/loss", 20, 0.25)]
    reader = EventAccumulator(str(folder.tensorboard)).Reload()
    [text] = [event for tag in reader.Tags()["tensors"] for event in reader.Tensors(tag)]
    assert text.tensor_proto.string_val == [b"--model=vib"]


def test_the_lengths_count_everything_that_was_logged_before(folder):
    log = RunLog(folder)
    log.scalars(values(0), epoch=1, step=1)
    lengths = log.lengths()
    log.close()
    files = contents(folder.path) | contents(folder.tensorboard)
    assert lengths == {name: len(content) for name, content in files.items()}


def test_a_cut_log_that_goes_on_has_nothing_doubled_and_nothing_missing(folder):
    log = RunLog(folder)
    log.scalars(values(1), epoch=1, step=1)
    lengths = log.lengths()
    log.scalars(values(2), epoch=2, step=2)  # after the checkpoint: lost with the process
    log.close()
    [events] = folder.tensorboard.iterdir()
    events.rename(events.with_name("events.out.tfevents.1.earlier"))  # as if it were not of this same second
    cut(folder, {"events.out.tfevents.1.earlier": lengths[events.name], "metrics.jsonl": lengths["metrics.jsonl"]})
    log = RunLog(folder)
    log.scalars(values(3), epoch=2, step=2)
    log.close()
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert lines == [{"epoch": 1, "step": 1, **values(1)}, {"epoch": 2, "step": 2, **values(3)}]
    expected = [(name, step, value) for step, of in ((1, 1), (2, 3)) for name, value in values(of).items()]
    assert points(folder.tensorboard) == sorted(expected)


def test_cutting_deletes_what_the_checkpoint_does_not_know(folder):
    log = RunLog(folder)
    log.scalars(values(0), epoch=1, step=1)
    log.say("kept")
    log.close()
    cut(folder, {})
    assert list(contents(folder.path)) == ["train.log"] and contents(folder.tensorboard) == {}


def test_what_is_said_is_printed_and_kept_line_by_line_with_the_time(folder, capsys):
    log = RunLog(folder)
    log.say("one\ntwo")
    log.close()
    assert capsys.readouterr().out == "one\ntwo\n"
    assert [line.split(" ", 2)[2] for line in folder.log.read_text().splitlines()] == ["one", "two"]
