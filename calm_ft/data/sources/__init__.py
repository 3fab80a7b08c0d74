"""Readers of recordings on disk, one file a format; `read_recordings` recognises which one a folder needs."""

from calm_ft.data.sources.recognise import read_recordings
from calm_ft.data.sources.recordings import Recordings

__all__ = ["Recordings", "read_recordings"]
