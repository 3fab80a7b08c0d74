"""Keys that lie in the environment are in nothing that a run writes or prints."""

from pathlib import Path

import pytest

from tests.training.tiny_run import run_train

PLANTED = {
    "WANDB_API_KEY": "planted1" + "b" * 32,
    "HF_TOKEN": "hf_planted2" + "c" * 26,
    "HUGGING_FACE_HUB_TOKEN": "hf_planted3" + "d" * 26,
    "AWS_SECRET_ACCESS_KEY": "planted4" + "e" * 32,
}
KINDS = {".wandb", ".log", ".txt", ".csv", ".json", ".yaml", ".ckpt", ".safetensors", ".wav", ".png", ".md"}


@pytest.mark.slow
def test_no_planted_key_is_in_anything_a_run_writes_or_prints(
    recordings_dir: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", "")  # restored afterwards
        monkeypatch.delenv(f"WANDB_{name}_DIR")
    for name, value in {**PLANTED, "WANDB_MODE": "offline", "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    overrides = [each for each in tiny if not each.startswith("logger")]
    assert run_train(monkeypatch, *overrides, "logger=wandb", f"data.path={recordings_dir}", "output_dir=run") == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= KINDS
    printed = "".join(capfd.readouterr())
    assert "trained in" in printed
    for name, secret in PLANTED.items():
        assert not [path for path in written if secret.encode() in path.read_bytes()], name
        assert secret not in printed, name
