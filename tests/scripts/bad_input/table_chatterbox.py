"""Chatterbox's faults, as `table.py` has them; the tiny model stands for the released one."""

from tests.scripts.bad_input import left
from tests.scripts.bad_input import preparations as made
from tests.scripts.bad_input.fault import Fault

TINY = ["adapter=chatterbox_tiny", "adapter.model=tiny"]
T3 = ["experiment=chatterbox_t3", *TINY]
TURBO = "adapter=chatterbox_turbo_tiny"
MULTILINGUAL_TINY = ["adapter=chatterbox_multilingual_tiny", "adapter.model=tiny"]
MULTILINGUAL = ["experiment=chatterbox_t3", *MULTILINGUAL_TINY]
NEW_LANGUAGE = ["experiment=chatterbox_new_language", *MULTILINGUAL_TINY]
VOICE = ["experiment=chatterbox_voice", *TINY, "strategy=voice_prompt"]
LORA = ["experiment=chatterbox_lora", *TINY]

CHATTERBOX = {
    "objective of Pocket TTS": Fault(TINY, "choose experiment=chatterbox_t3"),
    "its objective on Pocket TTS": Fault(["objective=chatterbox_t3"], "Pocket TTS does not train by T3CrossEntropy"),
    "missing local_dir": Fault([*T3, "adapter.local_dir={here}/nowhere"], "is not a folder"),
    "empty local_dir": Fault([*T3, "adapter.local_dir={here}"], "lacks ve.safetensors, t3_cfg.safetensors"),
    "weights cut short": Fault(
        [*T3, "adapter.local_dir={here}/model"],
        "t3_cfg.safetensors is damaged or cut short",
        made.chatterbox_cut_short("t3_cfg.safetensors"),
    ),
    "LoRA upon no component": Fault([*LORA, "+strategy.targets.s4=[q_proj]"], "strategy.targets.s4 names no component"),
    "LoRA upon no layer": Fault([*LORA, "strategy.targets.t3=[in_proj]"], "the linear layers there are: "),
    "more layers than T3 has": Fault([*T3, "strategy=last_n_layers", "strategy.num_layers=4"], "has 3 layers"),
    "frozen part that is none": Fault([*T3, "strategy.freeze_components=[t4]"], "names t4, which the adapter has not"),
    "everything frozen": Fault([*T3, "strategy.freeze_components=[t3]"], "selects none of the components"),
    "voice learned by Pocket TTS": Fault(["strategy=speaker_offset"], "pocket_tts is none: choose experiment="),
    "voice learned by S3Gen's loss": Fault(
        ["experiment=chatterbox_s3gen", *TINY, "strategy=voice_prompt"], "which this objective does not reach"
    ),
    "prompt of no token": Fault([*VOICE, "strategy.num_tokens=0"], "strategy.num_tokens=0"),
    "prompt of too many tokens": Fault([*VOICE, "strategy.num_tokens=151"], "an integer from 1 to 150"),
    "exaggerated text dropout": Fault([*T3, "objective.text_dropout=1"], "objective.text_dropout"),
    "no language": Fault(
        ["experiment=chatterbox_t3", "adapter=chatterbox_multilingual"], "adapter.language is missing, by which"
    ),
    "language that nobody speaks": Fault([*MULTILINGUAL, "adapter.language=xx"], "has not learned xx; it has ar, da"),
    "language that needs a package": Fault([*MULTILINGUAL, "adapter.language=zh"], "well only with the package spacy-"),
    "language that is none": Fault([*MULTILINGUAL, "adapter.language=Deutsch"], "is no ISO 639 code of a language"),
    "files of another model": Fault([*MULTILINGUAL, "adapter.local_dir={here}"], "lacks ve.pt, t3_mtl23ls_v2"),
    "new language that needs a package": Fault(
        [*NEW_LANGUAGE, "adapter.language=ja"], "cannot be learned so: Chatterb"
    ),
    "new characters that would not train": Fault(
        [*NEW_LANGUAGE, "adapter.language=qq", "strategy=lora_t3"], "leaves t3.text_emb.weight as it is"
    ),
    "new language on S3Gen": Fault(
        [*NEW_LANGUAGE, "objective=chatterbox_s3gen"], "learned by T3, which the objective does not train"
    ),
    "clips of a language that the model lacks": Fault(
        [*MULTILINGUAL, "data.path={here}"], "No clip can be used: 4 left out, most often", made.clips_in("ja")
    ),
    "all texts too long": Fault([*T3, "adapter.max_text_tokens=3"], "more than adapter.max_text_tokens=3"),
    "all clips too long": Fault(
        [*T3, "adapter.max_speech_tokens=13"], "speech tokens, more than", leaves=left.run_unchanged
    ),
    "Turbo's S3Gen": Fault(["experiment=chatterbox_s3gen", TURBO], "there is no loss for it: choose experiment="),
    "Turbo without its files": Fault(
        ["experiment=chatterbox_turbo_t3", TURBO, "adapter.local_dir={here}"], "t3_turbo_v1.safetensors"
    ),
    "clips too long, too short and of too long texts among good ones": Fault(
        T3, "", made.clips_beyond_chatterbox, left.each_beyond_chatterbox_named, code=0
    ),
}
