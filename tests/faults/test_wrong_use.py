"""Wrong command lines of every script: one clear line, exit status 2, and nothing on disk."""

import resource

import pytest
import torch
from conftest import assert_refused, contents, execute, run_of, train, train_disenib

from custom_pkg import checkpoints

GOOD = {  # a command line of each script that would be accepted
    "train_lagrangian.py": "--model=vib --lambda_kl=0.01 --dataset=digits --desc=x",
    "train_disenib.py": "--dataset=digits --desc=x",
    "train_disenib_mnist.py": "--desc=x",
    "train_disenib_shapes.py": "--desc=x --data_source=rendered",
    "train_disenib_sprites.py": "--desc=x --data_source=rendered",
    "evaluate.py": "--desc=x",
    "export.py": "--desc=x",
    "reproduce.py": "",
}
EVERYWHERE = [  # flags added to a good command line, and words of the answer
    (["--nonsense=1"], "--nonsense"),
    (["--des=y"], "--des"),
    (["stray"], "stray"),
    (["-d"], "-d"),
    (["--desc"], "--desc"),
    (["--desc="], "--desc"),
    (["--desc=../../x"], "--desc"),
    (["--desc=/tmp/x"], "--desc"),
    (["--desc=a\nb"], "--desc"),
    (["--desc=" + "x" * 5000], "--desc"),
    (["--desc=seed0"], "--desc"),
    (["--desc=a//b"], "--desc"),
    (["--desc=a/../b"], "--desc"),
    (["--desc=a b"], "--desc"),
    (["--a\nb=1"], "--"),
    (["--rand_seed=-1"], "--rand_seed"),
    (["--rand_seed=1.5"], "--rand_seed"),
    (["--rand_seed=" + "9" * 5000], "--rand_seed"),
    (["--data_root="], "--data_root"),
    (["--data_root=a\nb"], "--data_root"),
    (["--data_root=" + "x" * 5000], "--data_root"),
    (["--device=cuda:99"], "--device"),
    (["--device=tpu"], "--device"),
    (["--device=meta"], "--device"),
    (["--device=cuda:01"], "--device"),
    (["--device=cuda:" + "9" * 20], "--device"),
]
TRAINING = [
    (["--data_root=~nobodys/data"], "home folder"),
    (["--resume"], "nothing to resume"),
    (["--resume", "--overwrite"], "exclude"),
    (["--resume=maybe"], "--resume"),
    (["--batch_size=0"], "--batch_size"),
    (["--batch_size=-64"], "--batch_size"),
    (["--batch_size=ten"], "--batch_size"),
    (["--learning_rate=0"], "--learning_rate"),
    (["--learning_rate=inf"], "--learning_rate"),
    (["--eval_batch_size=0"], "--eval_batch_size"),
]
DISENIB = [
    (["--steps=0"], "--steps"),
    (["--epochs=1"], "--epochs"),
    (["--lambda_rec=nan"], "--lambda_rec"),
    (["--lambda_est=-1"], "--lambda_est"),
    (["--style_dim=0"], "--style_dim"),
    (["--class_std=0"], "--class_std"),
    (["--precision=fp8"], "--precision"),
    (["--precision=fp16"], "--precision"),
    (["--est_thr=-1"], "--est_thr"),
    (["--emb_radius=0"], "--emb_radius"),
    (["--n_samples=0"], "--n_samples"),
    (["--hfunc=pow"], "--hfunc"),
    (["--n_times_main=0"], "--n_times_main"),
    (["--freq_step_log=0"], "--freq_step_log"),
    (["--freq_step_chkpt=often"], "--freq_step_chkpt"),
    (["--model=vib"], "--model"),
    (["--compile=perhaps"], "--compile"),
]
OF_SCRIPT = {
    "train_lagrangian.py": [
        (["--model=disenib"], "--model"),
        (["--lambda_kl=nan"], "--lambda_kl"),
        (["--lambda_kl=-0.1"], "--lambda_kl"),
        (["--lambda_kl="], "--lambda_kl"),
        (["--hfunc=cube"], "--hfunc"),
        (["--hfunc_param=2"], "--hfunc_param"),
        (["--nib_log_std=1.5"], "--nib_log_std"),
        (["--model=nib", "--vib_softplus_scalar=5"], "--vib_softplus_scalar"),
        (["--emb_dim=0"], "--emb_dim"),
        (["--held_out_classes=[3,10]"], "--held_out_classes"),
        (["--held_out_classes=[-1]"], "--held_out_classes"),
        (["--emb_dim=1000000"], "--emb_dim"),
        (["--emb_dim=1000000000000"], "--emb_dim"),
        (["--lamda_kl=1"], "did you mean --lambda_kl?"),
        (["--eval_odin_out_data=mnist,noise"], "--eval_odin_out_data"),
        (["--enc_hidden_dims=[1024"], "--enc_hidden_dims"),
        (["--enc_hidden_dims=[1024;1024]"], "--enc_hidden_dims"),
        (["--enc_hidden_dims=[1,,2]"], "--enc_hidden_dims"),
        (["--dec_hidden_dims=[-5]"], "--dec_hidden_dims"),
        (["--epochs=0"], "--epochs"),
        (["--epochs=1e3"], "--epochs"),
        (["--model=DisenIB"], "python train_disenib.py"),
        (["--model=squared_vib"], "--hfunc=pow"), (["--beta=1"], "did you mean --lambda_kl?"),
        (["--bs=1"], "did you mean --batch_size?"), (["--cuda"], "did you mean --device?"),
        (["--Learning-Rate=1"], "did you mean --learning_rate?"), (["--name=x"], "did you mean --desc?"),
        (["--dataset=minst"], "you may look for mnist"), (["--desc=STORAGE/experiments/a/seed3"], "--rand_seed"),
        (["--desc=/elsewhere/STORAGE/experiments/a"], "--desc"),
        (["--lr=1e-3"], "did you mean --learning_rate?"),
        (["--enc_hidden_dims", "512", "256"], "did you mean --enc_hidden_dims=[512,256]?"),
        (["--load_from", "x.pt"], "--resume"),
        (["--load_from=x.pt"], "--checkpoint=PATH"),
        (["--dataset_num_threads=4"], "leave it out"),
        (["--dataset_shuffle"], "leave it out"),
        (["--dataset_drop_last", "true"], "leave it out"),
        (["--eval_odin_num_delta=10000"], "leave it out"),
        (["--freq_iter_log=10"], "every epoch"),
        (["--gpu_ids=99"], "--device=cuda:99"),
        (["--gpu_ids=0,1"], "--device=cuda:0,1"),
        (["--dataset=cifar10"], "--dataset"),
        (["--dataset=shapes"], "--dataset"),
        (["--batch_size=1348"], "--batch_size"),
        (["--eval_attack_epsilons=[0.1,x]"], "--eval_attack_epsilons"),
        (["--eval_attack_epsilons=[0]"], "--eval_attack_epsilons"),
        (["--eval_odin_out_data=cifar"], "--eval_odin_out_data"),
        (["--eval_odin_out_data=mnist"], "same size"),  # none of the two is fetched before that is said
        (["--dataset=mnist", "--eval_odin_out_data=gauss,mnist"], "another data set"),
        (["--dataset=mnist", "--batch_size=60001"], "60000 images"),
        (["--eval_odin_temperature=0"], "--eval_odin_temperature"),
        (["--steps=5"], "--steps"),
    ],
    "train_disenib.py": [
        *DISENIB, (["--dataset=svhn"], "--dataset"),
        (["--dataset=fashion_mnist", "--batch_size=60001"], "60000 images"),
        (["--rec_hidden_dims=]"], "--rec_hidden_dims"),
    ],
    "train_disenib_mnist.py": [
        *DISENIB, (["--dataset=mnist"], "--dataset"), (["--disc_limit_acc=1.1"], "--disc_limit_acc"),
        (["--holdout=0.1"], "--holdout"), (["--batch_size=60001"], "60000 images"),
        (["--data_source=files"], "--data_source"), (["--lambda_disc=-1"], "--lambda_disc"),
    ],
    "train_disenib_shapes.py": [
        *DISENIB, (["--data_source=web"], "--data_source"), (["--holdout=0.9"], "--holdout"),
        (["--holdout=nan"], "--holdout"), (["--batch_size=6145", "--data_source=files"], "6144 images"),
        (["--holdout=-0.1"], "--holdout"), (["--dataset=mnist"], "--dataset"),
    ],
    "train_disenib_sprites.py": [
        *DISENIB, (["--lambda_disc=1"], "--lambda_disc"), (["--holdout=-0.1"], "--holdout"),
        (["--disc_thr=5"], "--disc_thr"), (["--freq_step_eval=0"], "--freq_step_eval"),
        (["--batch_size=5000"], "--batch_size"),
    ],
    "evaluate.py": [
        (["--data_root=~nobodys/data"], "home folder"),
        ([], "no run in"),
        (["--metrics=[]"], "--metrics"),
        (["--metrics=speed"], "--metrics"),
        (["--metrics=fgsm"], "attack"), (["--metrics=Mutual_Information"], "look for information"),
        (["--metrics=robust"], "look for robustness"), (["--seeds=1"], "did you mean --rand_seed?"),
        (["--load_from=x"], "--checkpoint=PATH"),
        (["--metrics=detection", "--split=train"], "--split=test"),
        (["--split=validation"], "--split"),
        (["--split="], "--split"),
        (["--code=mode"], "--code"),
        (["--resume"], "--resume"),
        (["--overwrite"], "--overwrite"),
        (["--eval_odin_out_data=noise"], "--eval_odin_out_data"),
        (["--lambda_kl=1"], "--lambda_kl"),
        (["--metrics=accuracy,speed"], "--metrics"),
    ],
    "export.py": [
        ([], "STORAGE/experiments/x"), (["--format=onnx"], "--format"), (["--dtype=int8"], "--dtype"),
        (["--to="], "--to"), (["--checkpoint=first"], "--checkpoint"), (["--to=x.bin"], ".safetensors"),
    ],
    "reproduce.py": [
        (["--only=vib,gin"], "--only and gin"),
        (["--seeds=[]"], "--seeds"),
        (["--seeds=-1"], "--seeds"),
        (["--jobs=0"], "--jobs"),
        (["--dataset=fashion_mnist", "--only=disentangling-shapes"], "disentangling-shapes"),
        (["--quick", "--dataset=fashion_mnist"], "--quick"),
        (["--quick", "--only=disentangling-mnist"], "--quick and disentangling-mnist"),
        (["--quick", "--only=vib,disentangling-mnist"], "--quick and disentangling-mnist"),
        (["--report", "--only=vib"], "--report and --only"),
        (["--sweep=lambda_kl:1e-5..1e-1:9", "--precision=bf16"], "--precision"),
        (["--data_root="], "--data_root"),
        (["--hfunc=pow"], "--sweep"),
        (["--sweep=lambda_kl:1..2"], "lambda_kl:1e-5..1e-1:9"),
        (["--sweep=lambda_kl:1e-5..1e-1:9", "--only=vib"], "--only"),
        (["--sweep=rand_seed:1,2"], "rand_seed and --seeds"),
        (["--sweep=emb_dim:0,2"], "--emb_dim=0"),
        (["--sweep=hfunc_param:1,2"], "--hfunc=pow"),
        (["--with=robustnes"], "--with=robustnes and did you mean robustness?"),
        (["--report", "--with=tour/vib"], "tour/vib and STORAGE/experiments"),
        (["--report", "--with=robustness"], "--report and robustness"),
        (["--report", "--list"], "--list"),
        (["--reprot"], "--report"), (["--rand_seed=1"], "did you mean --seeds?"),
        (["--cluster=pbs"], "--cluster"),
        (["--slurm_gpus=1"], "--slurm_gpus and --cluster=slurm"),
        (["--cluster=slurm", "--jobs=2"], "--jobs"),
        (["--cluster=slurm", "--slurm_partition=a b"], "--slurm_partition"),
        (["--cluster=slurm", "--slurm_options=account"], "--slurm_options and account=lab"),
    ],
}


def table():
    for script in GOOD:
        trains = script.startswith("train")
        for flags, words in [*EVERYWHERE, *(TRAINING if trains else []), *OF_SCRIPT[script]]:
            yield pytest.param(script, flags, words, id=f"{script} {' '.join(flags)[:40]!r}")


@pytest.mark.parametrize("script, flags, words", list(table()))
def test_a_wrong_command_line_is_refused_in_one_line_and_leaves_no_trace(tmp_path, script, flags, words):
    outcome = execute(tmp_path, script, *GOOD[script].split(), *flags)
    assert_refused(outcome, *words.split(" and "))
    assert outcome.err.startswith(f"{script}: ") and len(outcome.err) < 500 and outcome.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script, flags", [
    ("train_lagrangian.py", ["--enc_hidden_dims=[100000,100000]"]),
    ("train_disenib.py", ["--n_times_main=100000", "--freq_step_log=100000"]),
])
def test_more_memory_than_there_is_ends_in_one_line(tmp_path, script, flags):
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, unlimited[1]))
    try:
        outcome = execute(tmp_path, script, *GOOD[script].split(), *flags)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
    assert outcome.status == 1 and outcome.err.count("\n") == 1 and "not enough memory" in outcome.err


@pytest.mark.parametrize("flags, words", [
    (["--checkpoint=best"], "--desc and must be given"), (["--checkpoint=nowhere.pt"], "nowhere.pt"),
    (["--checkpoint=STORAGE/experiments/a/b/seed0/checkpoints/last.pt", "--rand_seed=1"], "--rand_seed=1 and --desc"),
    (["--checkpoint=STORAGE/experiments/a/b/seed0/config.json"], "config.json"),
])
def test_evaluating_a_file_without_its_run_is_refused_where_there_is_none(copy, flags, words):
    before = contents(copy)
    assert_refused(execute(copy, "evaluate.py", *flags), *words.split(" and "))
    assert contents(copy) == before


@pytest.mark.parametrize("script", [script for script in GOOD if GOOD[script]])
def test_what_must_be_given_is_named(tmp_path, script):
    assert_refused(execute(tmp_path, script), "--desc", "must be given")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags, words", [
    (["--resume", "--lambda_kl=0.02"], "--lambda_kl was 0.01, now 0.02"),
    (["--resume", "--epochs=2", "--emb_dim=8"], "--epochs was 3, now 2 and --emb_dim was 16, now 8"),
    (["--resume", "--model=nib"], "--model was vib, now nib"),
    (["--resume", "--enc_hidden_dims=[8]"], "--enc_hidden_dims"),
    (["--resume", "--eval_odin_epsilon=0"], "--eval_odin_epsilon was 0.0014, now 0.0"),
    (["--resume", "--batch_size=50"], "--batch_size was 100, now 50"),
    (["--overwrite", "--resume"], "--overwrite and --resume"), (["--overwrite", "--batch_size=5000"], "--batch_size"),
    (["--overwrite", "--epochs=0"], "--epochs"), (["--overwrite", "--device=cuda:99"], "--device"),
])
def test_training_wrongly_where_a_run_is_is_refused_and_changes_nothing(copy, flags, words):
    before = contents(copy)
    assert_refused(train(copy, *flags), *words.split(" and "))
    assert contents(copy) == before


@pytest.mark.parametrize("flags, words", [
    (["--desc=nowhere"], "nowhere and --desc"), (["--rand_seed=7"], "seed7 and --rand_seed"),
    (["--checkpoint=nowhere.pt"], "nowhere.pt and --checkpoint"), (["--checkpoint="], "--checkpoint"),
    (["--checkpoint=" + "x" * 300], "--checkpoint"), (["--checkpoint=" + "x" * 5000], "--checkpoint"),
    (["--checkpoint=a\nb"], "--checkpoint"), (["--checkpoint=STORAGE"], "--checkpoint"),
    (["--checkpoint=/dev/null"], "null"), (["--metrics=swaps"], "--metrics"),
    (["--metrics=probes"], "--metrics"),
    (["--split=[]"], "--split"), (["--eval_odin_out_data=mnist"], "--eval_odin_out_data and same size"),  # not fetched
    (["--eval_odin_out_data=uniform", "--metrics=accuracy"], "--eval_odin_out_data and detection"),
    (["--code=mean", "--metrics=accuracy"], "--code=mean and attack"),
    (["--metrics=accuracy", "--attacks=square"], "--attacks"),
    (["--metrics=robustness", "--n_images=451"], "--n_images"),
    (["--metrics=robustness", "--attacks=transfer"], "--transfer_from"),
    (["--metrics=robustness", "--transfer_from=nowhere.pt"], "nowhere.pt"),
    (["--metrics=robustness", "--transfer_from=STORAGE"], "STORAGE and directory"),
])
def test_evaluating_what_is_not_there_is_refused_and_changes_nothing(copy, flags, words):
    before = contents(copy)
    outcome = execute(copy, "evaluate.py", "--desc=a/b", *flags)
    assert_refused(outcome, *words.split(" and "))
    assert len(outcome.err) < 500 and contents(copy) == before


def test_a_checkpoint_whose_name_cannot_become_a_file_s_is_refused_before_anything_is_computed(copy):
    strange = copy / f"{'x' * 240}.pt"
    (copy / "STORAGE/experiments/a/b/seed0/checkpoints/last.pt").rename(strange)
    assert_refused(execute(copy, "evaluate.py", "--desc=a/b", f"--checkpoint={strange}"), "--checkpoint", "plain")


def test_a_metric_that_is_asked_for_and_would_be_of_nothing_is_refused(tmp_path):
    assert train(tmp_path, "--epochs=1", "--eval_attack_epsilons=[]", "--eval_odin_out_data=[]").status == 0
    before = contents(tmp_path)
    for metric, option in (("attack", "epsilons"), ("robustness", "epsilons"), ("detection", "out_data")):
        assert_refused(execute(tmp_path, "evaluate.py", "--desc=a/b", f"--metrics={metric}"), option)
    assert contents(tmp_path) == before
    assert execute(tmp_path, "evaluate.py", "--desc=a/b").status == 0


def test_the_folder_of_a_seed_that_holds_another_is_not_taken_for_it(copy):
    run_of(copy).path.rename(run_of(copy).path.with_name("seed3"))
    before = contents(copy)
    assert_refused(execute(copy, "evaluate.py", "--desc=a/b", "--rand_seed=3"), "holds a run of seed 0")
    assert_refused(train(copy, "--resume", "--rand_seed=3"), "--rand_seed was 0")
    assert contents(copy) == before


def test_a_checkpoint_of_another_script_is_said_to_be_one(copy):
    assert train_disenib(copy, "--steps=1").status == 0
    other = run_of(copy, "d").last.relative_to(copy)
    outcome = execute(copy, "evaluate.py", "--desc=a/b", f"--checkpoint={other}")
    assert_refused(outcome, "is of a run of train_disenib.py")
    assert len(outcome.err) < 250


def test_a_transfer_from_a_model_of_other_images_is_refused_before_any_is_fetched(copy):
    run = run_of(copy)
    other = checkpoints.load_run(run.last)
    other["data"]["sha256"] = {"images": "other"}
    torch.save(other, copy / "other.pt")
    before = contents(copy)
    flags = ["--metrics=robustness", "--transfer_from=other.pt", "--data_root=nowhere"]
    assert_refused(execute(copy, "evaluate.py", "--desc=a/b", *flags), "--transfer_from=other.pt", "other images")
    assert contents(copy) == before
