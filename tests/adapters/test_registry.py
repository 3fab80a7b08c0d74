"""What is known of systems without loading a model: who takes what, rehearsal models, and systems from outside."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from calm_ft.adapters import registry
from calm_ft.adapters.chatterbox.system import ChatterboxSystem
from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.adapters.pocket_tts.system import PocketTTSSystem
from calm_ft.errors import UserError
from tests.adapters.chatterbox.conftest import make_adapter
from tests.adapters.recordings import write_speechlike
from tests.conftest import DEMO_TRAIN, NANO, default_objective

ROOT = Path(__file__).parents[2]
POCKET_TTS = {"_target_": "calm_ft.adapters.pocket_tts.adapter.PocketTTSAdapter", "local_dir": None}
CHATTERBOX = {"_target_": "calm_ft.adapters.chatterbox.adapter.ChatterboxAdapter", "local_dir": None}


def python(program: str, *path: Path) -> str:
    """What a new process prints, with these folders on its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("english_2026-10", PocketTTSSystem),
        ("german", PocketTTSSystem),
        ("hf://user/voice/config.yaml", PocketTTSSystem),
        ("nobody knows it", PocketTTSSystem),  # whose sentence says what there is
        ("chatterbox", ChatterboxSystem),
        ("ResembleAI/chatterbox", ChatterboxSystem),
    ],
)
def test_a_name_belongs_to_the_system_that_takes_it(name: str, system: type[registry.System]) -> None:
    assert type(registry.system_of_name(name)) is system


def test_an_adapter_that_no_system_knows_is_refused_with_the_way_to_register_it() -> None:
    with pytest.raises(
        UserError, match=r"_target_=nobody.Adapter belongs to no known TTS system: .*adapter.package=NAME"
    ):
        registry.system_of_settings({"_target_": "nobody.Adapter"})
    with pytest.raises(UserError, match=r"adapter.package=no_such_module cannot be imported"):
        registry.import_package("no_such_module")


@pytest.mark.slow
def test_systems_are_listed_without_importing_chatterbox() -> None:
    program = (
        "import sys; from calm_ft.adapters import registry; registry.packages(); "
        "print([each for each in ('chatterbox', 'lightning', 'hydra') if each in sys.modules])"
    )
    assert python(program).strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("object", ["SpectrumSystem", "SYSTEM"])
def test_an_installed_package_brings_its_system_by_an_entry_point(tmp_path: Path, object: str) -> None:
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[calm_ft.systems]\nspectrum = outside:{object}\n")
    (tmp_path / "outside.py").write_text(
        "from tests.outside_system.system import SpectrumSystem\nSYSTEM = SpectrumSystem()\n"
    )
    program = "from calm_ft.adapters import registry; print([each.name for each in registry.systems()])"
    assert "spectrum_tts" in python(program, tmp_path)
    (tmp_path / "outside.py").write_text("1 / 0")
    broken = (
        "from calm_ft.adapters import registry; from calm_ft.errors import UserError\n"
        "try: registry.systems()\nexcept UserError as error: print(error)"
    )
    assert "The TTS system spectrum (outside:" in python(broken, tmp_path)


@pytest.fixture(scope="module")
def tuned_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    adapter = PocketTTSAdapter(str(NANO), default_objective())
    adapter.flow_lm.out_eos.bias.data.add_(1.0)
    adapter.export(folder / "export", write_speechlike(folder / "voice.wav", 1.0, 16_000))
    return folder / "export"


def test_the_embedded_model_is_a_miniature_wherever_it_lies_and_however_it_was_tuned(
    tuned_export: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(NANO, tmp_path / "copied model"))
    expected = {NANO: True, copy: True, copy / "config.yaml": True, tuned_export: True, tiny_bundle: False}
    for model, is_miniature in expected.items():
        assert registry.is_miniature({**POCKET_TTS, "model": str(model)}) is is_miniature
        assert PocketTTSAdapter(str(model), default_objective()).is_miniature is is_miniature
    assert registry.is_miniature({**POCKET_TTS, "model": "english_2026-10", "local_dir": str(copy)})
    for name in ("english_2026-10", "hf://user/voice/config.yaml", str(tmp_path / "nowhere")):
        assert not registry.is_miniature({**POCKET_TTS, "model": name})


@pytest.fixture(scope="module")
def chatterbox_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chatterbox")
    make_adapter().export(folder / "export", write_speechlike(folder / "voice.wav", 2.0, 24_000))
    return folder / "export"


def test_an_export_is_known_by_its_own_system_and_by_no_other(
    tuned_export: Path, chatterbox_export: Path, tmp_path: Path
) -> None:
    for folder, names in ((tuned_export, ["pocket_tts"]), (chatterbox_export, ["chatterbox"]), (tmp_path, [])):
        assert [each.name for each in registry.systems() if each.is_export(folder)] == names


def test_the_tiny_chatterbox_is_a_miniature_by_its_name_and_by_its_files(
    chatterbox_export: Path, tmp_path: Path
) -> None:
    adapter = make_adapter()
    assert adapter.is_miniature
    assert registry.is_miniature({**CHATTERBOX, "model": "tiny"})
    assert registry.is_miniature({**CHATTERBOX, "model": "any", "local_dir": str(chatterbox_export)})
    for local_dir in (None, str(tmp_path)):
        assert not registry.is_miniature({**CHATTERBOX, "model": "ResembleAI/chatterbox", "local_dir": local_dir})


OVERRIDES = ["+adapter.model=x", "experiment=full", "data.path=/my voice [1]", "optimizer.lr=1e-4", "output_dir=here"]


@pytest.mark.parametrize(
    ("settings", "overrides", "kept"),
    [
        (
            {**POCKET_TTS, "model": str(NANO)},
            [*OVERRIDES, "adapter=nano", "resume=true"],
            [*OVERRIDES[1:4], "adapter=pocket_tts", "adapter.model=english_2026-10"],
        ),
        ({**CHATTERBOX, "model": "tiny"}, [*OVERRIDES, "adapter=chatterbox_tiny", "adapter.seed=1"], OVERRIDES[1:4]),
    ],
)
def test_the_notice_keeps_the_users_overrides_quoted_for_a_shell(
    settings: dict[str, object], overrides: Sequence[str], kept: Sequence[str]
) -> None:
    command = ["python", "scripts/train.py", *overrides]
    notice = registry.miniature_notice(settings, Path("/my voice [1]"), command)
    assert notice is not None
    assert notice.startswith("WARNING: this is ")
    assert shlex.split(notice.partition("For the released model: ")[2]) == ["python", "scripts/train.py", *kept]


def test_nothing_is_said_of_the_miniatures_own_recordings_and_of_released_models() -> None:
    assert registry.miniature_notice({**POCKET_TTS, "model": str(NANO)}, DEMO_TRAIN, []) is None
    assert registry.miniature_notice({**POCKET_TTS, "model": "german"}, Path("mine"), []) is None
