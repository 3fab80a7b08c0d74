"""Upstream systems behind one interface (`base.TTSAdapter`); each folder is the only importer of its package."""
