"""The faults, one row each: what is given, what the sentence says of it, what it leaves, and the exit code."""

from tests.scripts.bad_input import left
from tests.scripts.bad_input import preparations as made
from tests.scripts.bad_input.bad_audio import KINDS
from tests.scripts.bad_input.fault import Fault
from tests.scripts.bad_input.table_chatterbox import CHATTERBOX

RESUME = "resume=true"
MORE_STEPS = "trainer.max_steps=12"
HERE = "data.path={here}"
AS_IT_IS = "data.prepare=never"
SCORED = ["evaluation.num_sentences=1", "evaluation.every_n_steps=1"]
BY_CER = "checkpoint.monitor=eval/cer"
READ_ONLY = "/proc"  # where nobody, not even root, can make a folder

DATA = {
    "missing folder": Fault(["data.path={here}/nowhere"], "There is no folder"),
    "empty folder": Fault([HERE], "is empty"),
    "folder without audio": Fault([HERE], "no audio", made.texts_alone),
    "no folder named": Fault(["data.path=null"], "data.path"),
    "format that does not fit": Fault(["data.format=ljspeech"], "to read as ljspeech"),
    "unknown format": Fault(["data.format=mp4"], "pairs, librispeech"),
    "unknown way to speakers": Fault(["data.speakers=ask"], "auto, column, folder, one"),
    "one clip": Fault([HERE], "at least two", made.clips(1)),
    "fewer clips than processes": Fault([HERE, "trainer.devices=2"], "shared by 2 processes", made.clips(2)),
    "missing replay folder": Fault(["+data.sources.old={path:{here}/nowhere,weight:1}"], "There is no folder"),
    "replay without a folder": Fault(["data=replay"], "data.sources.base_voices.path"),
    "replay of weight 0": Fault(["+data.sources.old={path:{good},weight:0}"], "data.sources.old.weight=0"),
    "replay of hardly any weight": Fault(["+data.sources.old={path:{good},weight:0.01}"], "raise it"),
    "replay without a weight": Fault(["+data.sources.old={path:{good}}"], "data.sources.old.weight is not set"),
    "missing held-out folder": Fault(["evaluation.heldout_path={here}/nowhere"], "There is no folder"),
    "missing voices": Fault(["evaluation.base_voices={here}/nowhere"], "evaluation.base_voices"),
    "voices that are none": Fault(["evaluation.base_voices={here}"], "holds no folder"),
    "audio without text": Fault([HERE, AS_IT_IS], "holds 2 audio files but no text", made.two_clips_of("without_text")),
    **{
        f"all clips {kind}": Fault([HERE, AS_IT_IS], reason, made.two_clips_of(kind))
        for kind, (_, reason) in KINDS.items()
        if kind != "without_text"
    },
    "some clips broken": Fault([AS_IT_IS], "", made.one_clip_of_each_kind, left.each_bad_clip_named, code=0),
}

CONFIG = {
    "unknown released model": Fault(["adapter.model=nope"], "nope"),
    "unknown adapter": Fault(["adapter=nope"], "choose one of: chatterbox, chatterbox_multilingual, "),
    "unknown experiment": Fault(["experiment=nope"], "full, head_only, last_n_layers, lora, scratch"),
    "unknown objective": Fault(["objective=nope"], "there is no objective=nope"),
    "unknown strategy": Fault(["strategy=nope"], "full, head_only, last_n_layers, lora, lora_t3"),
    "unknown setting": Fault(["optimizer.rate=1"], "optimizer=adamw has: beta1"),
    "unknown top setting": Fault(["rate=1"], "there is no setting rate"),
    "unknown added setting": Fault(["+data.rate=1"], "rate"),
    "unreadable override": Fault(["seed"], "write key=value"),
    "reference to nothing": Fault(["seed=${nothing}"], "nothing"),
    "negative rate": Fault(["optimizer.lr=-1e-4"], "optimizer.lr=-0.0001"),
    "rate of zero": Fault(["optimizer.lr=0"], "optimizer.lr=0"),
    "rate in words": Fault(["optimizer.lr=fast"], "optimizer.lr=fast"),
    "more layers than there are": Fault(["experiment=last_n_layers", "strategy.num_layers=9"], "has 1 layers"),
    "rate for what is frozen": Fault(["+strategy.lr_factors.backbone=0.1"], "what does not train"),
    "negative factor of a rate": Fault(["+strategy.lr_factors.flow_head=-1"], "strategy.lr_factors.flow_head=-1"),
    "ema_decay of one": Fault(["ema_decay=1"], "ema_decay=1"),
    "negative ema_decay": Fault(["ema_decay=-0.1"], "ema_decay=-0.1"),
    "validation_fraction of one": Fault(["data.validation_fraction=1"], "data.validation_fraction=1"),
    "no batch": Fault(["data.max_batch_size=0"], "data.max_batch_size=0"),
    "frames in words": Fault(["data.max_frames_per_batch=autos"], "data.max_frames_per_batch=autos must be an integer"),
    "no frames": Fault(["data.max_frames_per_batch=0"], "data.max_frames_per_batch=0"),
    "negative workers": Fault(["data.num_workers=-1"], "data.num_workers=-1"),
    "seed in words": Fault(["seed=lucky"], "seed=lucky"),
    "half a seed": Fault(["seed=0.5"], "seed=0.5"),
    "no checkpoints": Fault(["checkpoint.every_n_steps=0"], "checkpoint.every_n_steps=0"),
    "checkpoints not kept": Fault(["checkpoint.keep=0"], "checkpoint.keep=0"),
    "best in no direction": Fault(["checkpoint.mode=better"], "min, max"),
    "best by what the model has not": Fault(["checkpoint.monitor=val/nope"], "val/residual", leaves=left.failed_at()),
    "best by what is not logged": Fault(["checkpoint.monitor=cer"], "write it as eval/cer"),
    "no patience": Fault(["early_stopping.patience=0"], "early_stopping.patience=0"),
    "fewer samples than none": Fault(["evaluation.num_samples=-1"], "evaluation.num_samples=-1"),
    "schedule of an objective without one": Fault(
        ["experiment=chatterbox_t3", "interpolant=linear"], "objective=chatterbox_t3 has no interpolant"
    ),
    "weight of an objective without it": Fault(
        ["objective=flow_matching", "objective.lsd_weight=1"], "objective=flow_matching has: interpolant"
    ),
    "part of an objective without it": Fault(
        ["objective=flow_matching", "objective/stop_gradient=detach"], "objective=flow_matching has no stop_gradient"
    ),
    "anchor on replayed clips without any": Fault(
        ["adapter.anchor_weight=1", "adapter.anchor_rows=replayed"], "there are none: add data=replay, or take"
    ),
    "setting of another system": Fault(["adapter.cfg_weight=1"], "adapter=pocket_tts has: anchor_rows"),
    "setting of another objective": Fault(["experiment=chatterbox_t3", "objective.lsd_weight=1"], "text_weight"),
    "unknown export": Fault(["export.which=first"], "best, last"),
    "unknown voice": Fault(["voice=nobody"], "There is no voice nobody: pass an audio file of it, or a voice"),
    "unknown voice to export": Fault(["export.voice=nobody"], "There is no voice nobody"),
    "voice that is no audio": Fault(["voice={here}/file"], "cannot be used", made.file_in_the_place_of("file")),
    "voice that says nothing": Fault(["voice={here}/silent.wav"], "the audio is silent", made.silent_voice),
    "saved voice to judge by": Fault(["voice={here}/v.pt"], "recording is needed", made.file_in_the_place_of("v.pt")),
    "export of integers": Fault(["export.dtype=int8"], "fp32, bf16, fp16"),
    "resume in words": Fault(["resume=perhaps"], "resume=perhaps"),
    "no steps": Fault(["trainer.max_steps=0"], "trainer.max_steps=0"),
    "steps taken out": Fault(["~trainer.max_steps"], "trainer.max_steps=null"),
    "epochs": Fault(["trainer.max_epochs=3"], "trainer.max_steps"),
    "unknown trainer argument": Fault(["trainer.nope=1"], "nope"),
    "sharded trainer": Fault(["trainer.strategy=fsdp"], "trainer.strategy=fsdp is not supported"),
    "evaluated after fewer steps than none": Fault(["evaluation.every_n_steps=-1"], "evaluation.every_n_steps=-1"),
    "no sentence to score": Fault(["evaluation.num_scored_sentences=0"], "evaluation.num_scored_sentences=0"),
    "share of time over one": Fault(["evaluation.max_time_share=1.5"], "evaluation.max_time_share=1.5"),
    "no flow step": Fault(["evaluation.num_steps=0"], "evaluation.num_steps=0"),
    "guidance without a null branch": Fault(["evaluation.cfg_coef=2"], "takes a null branch, and"),
    "recogniser without a name": Fault(["evaluation.asr=null"], "evaluation.asr=null"),
    "opinions in words": Fault(["evaluation.opinion_scores=some"], "evaluation.opinion_scores=some"),
    "embedded recogniser of another model": Fault(
        [*SCORED, "evaluation.asr=embedded"], "The embedded recogniser knows"
    ),
    "best by a figure that is none": Fault([*SCORED, "checkpoint.monitor=eval/mos"], "eval/wer, eval/cer"),
    "best by what nothing hears": Fault([*SCORED, "evaluation.asr=none", BY_CER], "no speech recogniser was asked"),
    "best by what is not evaluated": Fault([BY_CER, "evaluation.every_n_steps=null"], "evaluation.every_n_steps=200"),
    "best by what nobody says": Fault([BY_CER], "evaluation.num_sentences=0"),
    "worst kept as the best": Fault([*SCORED, BY_CER, "checkpoint.mode=max"], "checkpoint.mode=min"),
    "best of one sentence": Fault(
        [*SCORED, "checkpoint.monitor=eval/sentence_identified"],
        "no two recordings to choose from",
        leaves=left.failed_at(),
    ),
    "nothing to judge by": Fault(["evaluation.num_sentences=-1"], "evaluation.num_sentences=-1"),
}

CHECKPOINT = {
    "resume with other recordings": Fault([RESUME, MORE_STEPS, HERE], "its data differs", made.other_recordings),
    "resume with another strategy": Fault([RESUME, "strategy=full"], "its strategy differs", made.interrupted),
    "resume with another rate": Fault([RESUME, "optimizer.lr=1"], "its optimizer differs", made.interrupted),
    "resume with another seed": Fault([RESUME, "seed=1"], "seed", made.interrupted),
    "resume with another model": Fault(
        [RESUME, "adapter.model={here}/model"], "its model", made.other_model, left.run_unchanged
    ),
    "last checkpoint damaged": Fault(
        [RESUME],
        "last.ckpt is damaged",
        made.damaged("checkpoints/last.ckpt", "checkpoints/step-00000002.ckpt"),
        left.as_if_nothing_had_been,
        code=0,
    ),
    "best checkpoint damaged": Fault(
        [RESUME], "export.which=last", made.damaged("checkpoints/best.ckpt"), left.failed_but_for_best
    ),
    "all checkpoints damaged": Fault([RESUME], "Every checkpoint in", made.damaged("checkpoints/*.ckpt")),
    "run.json damaged": Fault([RESUME], "run.json is damaged", made.damaged("run.json")),
    "killed before a checkpoint": Fault(
        [RESUME],
        "nothing to resume in",
        made.killed_before_its_first_checkpoint,
        left.as_if_nothing_had_been,
        code=0,
    ),
}

CACHE = {
    "cut shard": Fault([], "is damaged", made.cut_shard, left.as_if_nothing_had_been, code=0),
    "cache is a file": Fault(["data.cache_dir={here}/file"], "is a file", made.file_in_the_place_of("file")),
    "cache in a file": Fault(["data.cache_dir={here}/file/cache"], "is a file", made.file_in_the_place_of("file")),
    "cache on a read-only disk": Fault([f"data.cache_dir={READ_ONLY}/cache"], "data.cache_dir"),
    "cache on a full disk": Fault([], "data.cache_dir", made.full_disk_and_no_cache, left.no_run),
    "features that are not numbers": Fault(
        [RESUME, MORE_STEPS], "is not finite at step", made.not_a_number_in_the_cache, left.last_good_checkpoint
    ),
}

DISK = {
    "full for temporary files": Fault([], "TMPDIR", made.full_disk(100)),
    "full from the beginning": Fault([], "cannot be written", made.full_disk(2200)),
    "full at the first audio": Fault([], "cannot write its files", made.full_disk(4200), left.failed_and_resumes()),
    "full at a checkpoint": Fault(
        [made.filling_up(100_000, at_step=2)], "free some space", leaves=left.failed_and_resumes(1)
    ),
    "full at the export": Fault(
        [made.filling_up(100_000)], "The export cannot be written", leaves=left.failed_and_resumes(1, 2)
    ),
    "read-only": Fault([f"output_dir={READ_ONLY}/run"], "cannot be written"),
}

OUTPUT_DIR = {
    "another run's": Fault([], "holds another run: continue it with resume=true", made.run_of_another),
    "other files'": Fault([], "holds other files: choose a new folder", made.folder_of_other_files),
    "other files', to be resumed": Fault([RESUME], "holds other files", made.folder_of_other_files),
    "a file": Fault(["output_dir={here}/file"], "is a file", made.file_in_the_place_of("file")),
    "below a file": Fault(["output_dir={here}/file/run"], "is a file", made.file_in_the_place_of("file")),
    "none": Fault(["output_dir=null"], "output_dir"),
}

FAULTS = {
    f"{group}: {name}": fault
    for group, faults in {
        "data": DATA,
        "config": CONFIG,
        "checkpoint": CHECKPOINT,
        "cache": CACHE,
        "disk": DISK,
        "output_dir": OUTPUT_DIR,
        "chatterbox": CHATTERBOX,
    }.items()
    for name, fault in faults.items()
}
