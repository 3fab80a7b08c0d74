"""Every way in which a model cannot be had or trained: one sentence that names the way out."""

import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub_constants
import pytest
import safetensors.torch
import torch
import yaml

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter
from calm_ft.errors import UserError
from tests.adapters.tiny_bundle import tiny_config, write_tiny_bundle, write_yaml
from tests.conftest import default_objective

RELEASED = "english_2026-10"


@pytest.fixture
def bundle(tiny_bundle, tmp_path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def empty_hub_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def hub_at(empty_hub_cache, monkeypatch) -> Callable[[int], None]:
    """Send the hub's client to a port of this machine."""

    def point(port: int) -> None:
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(hub_constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return point


@pytest.fixture
def answering_hub(hub_at) -> Iterator[Callable[[int, str], None]]:
    """A hub of our own on this machine that answers every request with one status and error code."""
    answer: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answer["status"])
            self.send_header("X-Error-Code", answer["code"])
            self.send_header("X-Error-Message", "two\tparts")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - the name that http.server asks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_at(server.server_port)
    yield lambda status, code: answer.update(status=status, code=code)
    server.shutdown()
    server.server_close()


def refusal(model: object, **settings: object) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(UserError) as refused:
        PocketTTSAdapter(str(model), default_objective(), **settings)  # type: ignore[arg-type]
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 1000
    return sentence


@pytest.mark.parametrize("name", ["english_drifting_26-09", "english_2m_2026-10"])
def test_heads_without_time_conditions_are_refused_with_names_that_work_before_any_download(name, answering_hub):
    sentence = refusal(name)  # the hub would have no answer ready
    assert RELEASED in sentence
    assert "english_2026-09_24l" in sentence
    assert "drifting" not in sentence.split("use one of")[1]


def test_an_unknown_name_is_refused_with_the_names_that_work(tmp_path):
    sentence = refusal("englich")
    assert "'englich'" in sentence
    assert RELEASED in sentence
    assert "hf://" in sentence
    assert "There is no Pocket TTS model" in refusal(tmp_path)


def test_an_offline_hub_is_said_with_the_local_way_out(empty_hub_cache, monkeypatch):
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    sentence = refusal(RELEASED)
    assert "cannot be reached" in sentence
    assert "adapter.local_dir" in sentence


@pytest.mark.slow
def test_an_unreachable_hub_is_said_in_the_same_words(hub_at):
    hub_at(9)  # the discard port: nobody listens there
    assert "adapter.local_dir" in refusal(RELEASED)


def test_gated_weights_are_said_with_the_terms_page_and_the_login(answering_hub):
    answering_hub(403, "GatedRepo")
    sentence = refusal(RELEASED)
    assert "https://huggingface.co/kyutai/pocket-tts," in sentence
    assert "hf auth login" in sentence


@pytest.mark.parametrize(("status", "code"), [(404, "EntryNotFound"), (401, "RepoNotFound")])
def test_a_file_that_the_hub_does_not_have_is_named(answering_hub, status, code):
    answering_hub(status, code)
    assert "The hub has no hf://someone/voice/config.yaml" in refusal("hf://someone/voice/config.yaml")


def test_a_malformed_hub_path_is_named(empty_hub_cache):
    assert "hf://no such/repo name/config.yaml" in refusal("hf://no such/repo name/config.yaml")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    assert str(bundle / name) in refusal(bundle)
    assert "model.safetensors and tokenizer.json or tokenizer.model" in refusal(RELEASED, local_dir=str(bundle))


def test_a_local_dir_that_is_no_folder_is_named(tmp_path):
    assert str(tmp_path / "none") in refusal(RELEASED, local_dir=str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "tokenizer.json"])
@pytest.mark.parametrize("num_bytes", [0, 100])
def test_a_truncated_file_is_called_damaged(tmp_path, name, num_bytes):
    bundle = write_tiny_bundle(tmp_path / "bundle", json_tokenizer=name.endswith(".json"))
    with (bundle / name).open("r+b") as file:
        file.truncate(num_bytes)
    sentence = refusal(bundle)
    assert "damaged" in sentence
    assert str(bundle / name) in sentence


def test_weights_of_another_shape_are_refused(bundle):
    config = tiny_config()
    config["flow_lm"]["flow"]["dim"] = 24
    write_yaml(bundle, config)
    sentence = refusal(bundle)
    assert "do not fit their config" in sentence
    assert "size mismatch" in sentence


def test_a_tokenizer_of_another_size_is_refused(bundle):
    config = tiny_config()
    config["flow_lm"]["lookup_table"]["n_bins"] += 1
    write_yaml(bundle, config)
    assert "vocab size" in refusal(bundle)


def test_the_bundle_without_voice_cloning_is_refused_before_anything_is_encoded(bundle):
    state = safetensors.torch.load_file(bundle / "model.safetensors")
    blank = {name: torch.zeros_like(t) if name.startswith("mimi.encoder.") else t for name, t in state.items()}
    safetensors.torch.save_file(blank, bundle / "model.safetensors")
    sentence = refusal(bundle)
    assert "without voice cloning" in sentence
    assert "hf auth login" in sentence


@pytest.mark.parametrize("content", [b"flow_lm: [", b"\xff\xfe\x00bad", b"- a list", b"just words", b""])
def test_what_is_not_a_config_is_named(bundle, content):
    (bundle / "config.yaml").write_bytes(content)
    assert str(bundle / "config.yaml") in refusal(bundle)


def test_an_unknown_key_and_a_missing_one_are_named(bundle):
    write_yaml(bundle, tiny_config() | {"colour": "green"})
    assert "colour" in refusal(bundle)
    incomplete = tiny_config()
    del incomplete["mimi"]["frame_rate"]
    write_yaml(bundle, incomplete)
    assert "mimi.frame_rate" in refusal(bundle)


def test_a_config_without_weights_is_refused(bundle):
    config = yaml.safe_load((bundle / "config.yaml").read_text())
    del config["weights_path"]
    write_yaml(bundle, config)
    assert "weights_path" in refusal(bundle)


@pytest.mark.parametrize(
    "settings",
    [
        {"head_batch_multiplier": 0},
        {"head_batch_multiplier": 3},
        {"eos_loss_weight": -0.1},
        {"conditioning_dropout": 1.5},
        {"input_noise_std": -1},
    ],
)
def test_settings_out_of_range_are_named(tiny_bundle, settings):
    assert f"adapter.{next(iter(settings))}" in refusal(tiny_bundle, **settings)
