"""LoRA weights as files of their own: a few megabytes that belong to one base model.

`lora.safetensors` holds `LAYER.lora_A.weight` [rank, in] and `LAYER.lora_B.weight` [out, rank] for every layer, by
upstream's names. Its metadata hold rank, alpha, targets, a fingerprint of the base weights that they were trained upon,
and one of the LoRA weights themselves, for safetensors has no checksum. Beside it, `save_peft` writes the folder that
peft's own loader reads.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Conv1D
from torch import Tensor, nn

from calm_ft.atomic_file import atomic_path
from calm_ft.errors import UserError

FORMAT = "calm_ft LoRA 1"
A, B = ".lora_A.weight", ".lora_B.weight"
PEFT_WEIGHTS, PEFT_CONFIG, PEFT_PREFIX = "adapter_model.safetensors", "adapter_config.json", "base_model.model."
LINEAR = (nn.Linear, Conv1D)  # the types of layers that LoRA is put upon
Targets = dict[str, list[str] | str]


@dataclass(frozen=True)
class LoraWeights:
    """What a file holds; `factors`: full layer name -> (A [rank, in], B [out, rank]).

    base: the fingerprint of the weights below, as `fingerprint` makes it.
    """

    rank: int
    alpha: float
    targets: Targets
    base: str
    factors: dict[str, tuple[Tensor, Tensor]]

    @property
    def scale(self) -> float:
        """By which B A enters the base weight."""
        return self.alpha / self.rank


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of tensors with their names, types and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        raw = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{raw.dtype}:{tuple(raw.shape)}".encode())
        digest.update(raw.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def folded(weight: Tensor, a: Tensor, b: Tensor, scale: float, transposed: bool = False) -> Tensor:
    """W + scale * B A, summed in float32, in W's own type and on its device; `weight` may be W's transpose."""
    update = b.detach().float() @ a.detach().float()
    update = update.T if transposed else update
    return (weight.detach().float() + scale * update.to(weight.device)).to(weight.dtype)


def save_lora(path: Path, lora: LoraWeights) -> None:
    """Write the file, whole or not at all.

    Raises OSError where it cannot be written.
    """
    tensors = _named(lora.factors)
    metadata = {
        "format": FORMAT,
        "rank": str(lora.rank),
        "alpha": repr(float(lora.alpha)),
        "targets": json.dumps(lora.targets),
        "base_fingerprint": lora.base,
        "fingerprint": fingerprint(tensors),
    }
    content = safetensors.torch.save(tensors, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def save_peft(directory: Path, lora: LoraWeights, transposed: Iterable[str]) -> None:
    """Write adapter_model.safetensors and adapter_config.json, by which peft puts the same LoRA upon the plain model.

    `PeftModel.from_pretrained(model, directory)` takes the module that has the layers under these names: of Pocket TTS
    the stock `TTSModel`, of Chatterbox a module that holds T3 as `t3`.

    Args:
        transposed: names of the layers that hold their weights transposed.

    Raises OSError where the files cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number; peft divides it by the rank
        target_modules=sorted(lora.factors),
        fan_in_fan_out=set(transposed) == lora.factors.keys(),
        inference_mode=True,
    )
    tensors = {PEFT_PREFIX + name: tensor for name, tensor in _named(lora.factors).items()}
    with atomic_path(directory / PEFT_WEIGHTS) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    with atomic_path(directory / PEFT_CONFIG) as temporary:
        temporary.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_lora(path: Path) -> LoraWeights:
    """Read such a file.

    Raises UserError where it is missing, damaged or another kind of file.
    """
    if not path.is_file():
        raise UserError(f"There is no LoRA file {path}: pass the lora.safetensors of a run of strategy=lora.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return _parsed(metadata, tensors)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path} is damaged or no LoRA file of this project ({reason}): pass the lora.safetensors of a run of "
            "strategy=lora."
        ) from error


def _parsed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> LoraWeights:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its metadata do not say {FORMAT!r}")
    if metadata["fingerprint"] != fingerprint(tensors):
        raise ValueError("its weights are not those that were written")
    names = sorted(name.removesuffix(A) for name in tensors if name.endswith(A))
    factors = {name: (tensors[name + A], tensors[name + B]) for name in names}
    rank, alpha = int(metadata["rank"]), float(metadata["alpha"])
    if not factors or any(a.shape[0] != rank or b.shape[1] != rank for a, b in factors.values()):
        raise ValueError(f"its weights are not of rank {rank}")
    return LoraWeights(rank, alpha, json.loads(metadata["targets"]), metadata["base_fingerprint"], factors)


def check_base(path: Path, lora: LoraWeights, weights: Mapping[str, Tensor]) -> None:
    """Raises UserError unless `weights` (full layer name -> W) are those that a file was trained upon."""
    if fingerprint(weights) != lora.base:
        raise UserError(
            f"The LoRA file {path} was made for another base model than this one: choose the model of the run that "
            "made it (adapter.model in its config.yaml)."
        )


def merge_lora_file(adapter: nn.Module, path: Path) -> None:
    """Fold a LoRA file into the weights of an adapter for good; to be done on a base without LoRA layers.

    Raises UserError where the file is missing, damaged or made for another base model.
    """
    lora = read_lora(path)
    modules = dict(adapter.named_modules())
    layers = {name: modules[name] for name in lora.factors if type(modules.get(name)) in LINEAR}
    weights = {name: layer.weight for name, layer in layers.items() if isinstance(layer.weight, Tensor)}
    check_base(path, lora, weights)
    for name, (a, b) in lora.factors.items():
        weight = weights[name]
        weight.data.copy_(folded(weight, a, b, lora.scale, isinstance(layers[name], Conv1D)))


def _named(factors: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    own = {name: (a.detach().cpu().contiguous(), b.detach().cpu().contiguous()) for name, (a, b) in factors.items()}
    return {name + A: a for name, (a, _) in own.items()} | {name + B: b for name, (_, b) in own.items()}
