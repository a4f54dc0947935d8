import json

import pytest
from conftest import contents, points
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import list_session_groups
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS, ColParams, ListSessionGroupsRequest
from tensorboard.plugins.hparams.backend_context import Context

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


def test_scalars_are_in_both_files_and_options_in_tensorboard(folder):
    log = RunLog(folder)
    log.options({"model": "vib", "sizes": [8, 8]})
    log.scalars({"train/loss": 0.5}, epoch=1, step=10)
    log.scalars({"train/loss": 0.25, "eval/accuracy": 1.0}, epoch=2, step=20)
    log.close()
    assert [json.loads(line) for line in folder.metrics.read_text().splitlines()] == [
        {"epoch": 1, "step": 10, "train/loss": 0.5}, {"epoch": 2, "step": 20, "train/loss": 0.25, "eval/accuracy": 1.0},
    ]
    assert points(folder.tensorboard) == [("eval/accuracy", 20, 1.0), ("train/loss", 10, 0.5), ("train/loss", 20, 0.25)]
    reader = EventAccumulator(str(folder.tensorboard)).Reload()
    [text] = reader.Tensors("options/text_summary")
    assert text.tensor_proto.string_val == [b"    --model=vib\n    --sizes=[8, 8]"]


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


def test_the_points_of_curves_are_in_metrics_jsonl_alone(folder):
    log = RunLog(folder)
    log.trained({"test/accuracy": 0.5, "test/fgsm/0.1": 0.25, "test/reliability/0.1/images": 3.0}, epoch=1, step=10)
    log.close()
    assert json.loads(folder.metrics.read_text()) == {
        "epoch": 1, "step": 10, "final/test/accuracy": 0.5, "final/test/fgsm/0.1": 0.25,
        "final/test/reliability/0.1/images": 3.0,
    }
    assert points(folder.tensorboard) == [("trained/test/accuracy", 10, 0.5), ("trained/test/fgsm/0.1", 10, 0.25)]


def test_tensorboard_compares_runs_by_their_options_and_draws_losses_first(folder):
    """As TensorBoard's own plugins read the event files of two runs, which are in no folders of their own making."""
    folders = [folder, RunFolder("b", 3)]
    for number, run in enumerate(folders):
        run.path.mkdir(parents=True, exist_ok=True)
        run.tensorboard.mkdir(parents=True, exist_ok=True)
        log = RunLog(run)
        log.options({"lambda_kl": 0.1 * (number + 1), "sizes": [8], "on": True, "desc": "x", "data_root": "/y"})
        log.scalars({"train/loss": 0.5, "eval/test/accuracy": 0.5}, epoch=1, step=1)
        log.trained({"test/accuracy": 0.5 + number / 4}, epoch=1, step=1)
        log.close()
    events = EventMultiplexer().AddRunsFromDirectory("STORAGE/tensorboard")
    events.Reload()
    assert events.Runs().keys() == {"a/seed0", "b/seed3"}
    provider = MultiplexerDataProvider(events, "STORAGE/tensorboard")
    hparams, asked = Context(TBContext(data_provider=provider)), RequestContext()
    metadata = hparams.hparams_metadata(asked, "")
    experiment = hparams.experiment_from_metadata(asked, "", True, metadata, [])
    assert {info.name for info in experiment.hparam_infos} == {"lambda_kl", "sizes", "on"}
    metrics = sorted(info.name.tag for info in experiment.metric_infos)
    assert metrics == ["eval/test/accuracy", "train/loss", "trained/test/accuracy"]  # as its tags are sorted
    groups = list_session_groups.Handler(
        asked, hparams, "", ListSessionGroupsRequest(slice_size=10, allowed_statuses=[STATUS_SUCCESS], col_params=[
            ColParams(metric=experiment.metric_infos[-1].name), ColParams(hparam="lambda_kl"),
        ]),
    ).run().session_groups
    found = {(group.hparams["lambda_kl"].number_value, group.metric_values[-1].value) for group in groups}
    assert found == {(0.1, 0.5), (0.2, 0.75)}
    [config] = EventAccumulator(str(folder.tensorboard)).Reload().Tensors("custom_scalars__config__")
    layout = Layout.FromString(config.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["losses", "on the way", "trained"]
