"""Upstream systems behind one interface (`base.TTSAdapter`); each folder alone imports its package."""
