"""The language follows the model: its released name, its files' place on the hub, the card of an export, a setting."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from pocket_tts.utils.config import CONFIGS_DIR

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.loading import language_of, load_config, trainable_configs
from calm_ft.errors import UserError
from tests.adapters.recordings import write_speechlike
from tests.conftest import default_objective

WORDS = {"english": "en", "french": "fr", "german": "de", "spanish": "es", "italian": "it", "portuguese": "pt"}
WORDS |= {"dutch": "nl"}


def language(model: object, **settings: str) -> str:
    return PocketTTSAdapter(str(model), default_objective(), **settings).language  # type: ignore[arg-type]


def test_every_released_model_has_the_language_of_its_name() -> None:
    found = {name: language_of(load_config(name, None)) for name in trainable_configs()}
    assert found == {name: WORDS[name.partition("_")[0]] for name in found}
    names = Counter(path.stem.partition("_")[0] for path in CONFIGS_DIR.glob("*.yaml"))
    assert names.keys() == WORDS.keys()
    assert sum(count for name, count in names.items() if name != "english") == 12


def test_a_released_models_own_yaml_in_a_folder_of_files_keeps_its_language(tiny_bundle: Path, tmp_path: Path) -> None:
    local = Path(shutil.copytree(tiny_bundle, tmp_path / "elsewhere"))
    (local / "config.yaml").unlink()
    assert language_of(load_config("german", str(local))) == "de"
    shutil.copy(CONFIGS_DIR / "french_24l.yaml", local / "config.yaml")
    assert language_of(load_config("english_2026-10", str(local))) == "fr"


def test_an_export_keeps_the_language_wherever_it_goes(tiny_bundle: Path, tmp_path: Path) -> None:
    adapter = PocketTTSAdapter(str(tiny_bundle), default_objective(), language="de")
    adapter.export(tmp_path / "export", write_speechlike(tmp_path / "voice.wav", 1.0, adapter.sample_rate_hz))
    assert language(tmp_path / "export") == "de"
    assert language(tmp_path / "export", language="nl") == "nl"
    assert language("english_2026-10", local_dir=str(tmp_path / "export")) == "de"
    (tmp_path / "export" / "README.md").write_text("---\nbroken")
    assert language(tmp_path / "export") == "en"


@pytest.mark.parametrize("given", ["German", "", "d", 3])
def test_what_is_no_code_of_a_language_is_refused(tiny_bundle: Path, given: str) -> None:
    with pytest.raises(UserError, match="is no ISO 639 code"):
        language(tiny_bundle, language=given)
