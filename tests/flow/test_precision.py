"""Which numbers are multiplied: those of the autocast around, where it is bfloat16; and what a processor is fast in."""

import pytest
import torch

from calm_ft.flow.precision import has_fast_bfloat16, multiplies_bfloat16

CPU = torch.device("cpu")


def test_bfloat16_is_multiplied_under_its_own_autocast_alone():
    assert not multiplies_bfloat16(CPU)
    with torch.autocast("cpu", torch.bfloat16):
        assert multiplies_bfloat16(CPU)
        with torch.autocast("cpu", enabled=False):
            assert not multiplies_bfloat16(CPU)
    with torch.autocast("cpu", torch.float16):
        assert not multiplies_bfloat16(CPU)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True, "avx512_bf16": False}, False)],
)
def test_a_processor_is_fast_in_bfloat16_where_it_has_instructions_for_it(capabilities, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bfloat16(CPU) is fast


def test_this_processor_says_which_instructions_it_has():
    assert {"avx512_bf16", "amx_bf16"} & torch.cpu.get_capabilities().keys() or torch.cpu.get_capabilities()[
        "architecture"
    ] not in ("x86_64", "AMD64")
