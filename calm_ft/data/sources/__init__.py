"""Readers of recordings on disk: `read_recordings` recognises the format of a folder and reads it."""

from calm_ft.data.sources.manifests import write_manifest
from calm_ft.data.sources.recognising import FORMATS, read_recordings
from calm_ft.data.sources.recordings import Recordings

__all__ = ["FORMATS", "Recordings", "read_recordings", "write_manifest"]
