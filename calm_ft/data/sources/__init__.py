"""Readers of recordings: `read_recordings` recognises the format of a folder and reads it, or a data set of the hub."""

from calm_ft.data.sources.clip_cache import is_kept_clip
from calm_ft.data.sources.hub.sets import is_on_hub
from calm_ft.data.sources.manifests import write_manifest
from calm_ft.data.sources.recognising import FORMATS, read_recordings
from calm_ft.data.sources.recordings import Recordings

__all__ = ["FORMATS", "Recordings", "is_kept_clip", "is_on_hub", "read_recordings", "write_manifest"]
