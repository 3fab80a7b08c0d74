"""By what kept audio is known: whatever changes what is said changes it."""

from calm_ft.adapters.pocket_tts.adapter import PocketTTSAdapter


def test_a_text_is_known_by_what_the_model_reads_of_it(nano_adapter: PocketTTSAdapter) -> None:
    said = nano_adapter.synthesis_fingerprint("Hello there.")
    assert said == nano_adapter.synthesis_fingerprint("  Hello   there. ")  # prepared, it is the same
    assert said != nano_adapter.synthesis_fingerprint("Hello you.")


def test_settings_that_change_what_is_said_are_part_of_it(nano_adapter: PocketTTSAdapter) -> None:
    found = [nano_adapter.synthesis_fingerprint("Hello there.")]
    nano_adapter.tts.temp *= 2
    found.append(nano_adapter.synthesis_fingerprint("Hello there."))
    nano_adapter.tts.eos_threshold += 1
    found.append(nano_adapter.synthesis_fingerprint("Hello there."))
    assert len(set(found)) == 3
