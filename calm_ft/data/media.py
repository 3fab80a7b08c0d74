"""The first audio stream of a file that libsndfile cannot read (m4a, mp4, webm, mka, wma, amr), decoded by PyAV.

Convention: positions are samples counted from the first one of the stream, as in `soundfile.SoundFile`. They follow the
time stamps of the file where these leave a gap (a browser sends nothing while it is silent), and else the number of
samples decoded, because some containers round their time stamps to milliseconds.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm_ft.data.utterance import UnusableClip

# A codec's first samples after a seek depend on packets before them.
SEEK_LEAD_SEC = 1.0
# Time stamps that are this much later than the samples decoded so far mean missing sound; it becomes silence.
GAP_SEC = 0.03
# A file whose decoded sound ends before this share of the length in its header was cut off while it was copied.
WHOLE_SHARE = 0.9
# Containers whose header says how long the stream is; others estimate it from the bit rate.
CONTAINERS_WITH_LENGTH = ("mov", "mp4", "matroska", "webm", "asf", "caf", "wav", "w64", "aiff", "avi", "flv")
# Their packets have no time of their own, and what follows a seek gets a wrong one; these are decoded from the start.
CONTAINERS_THAT_SEEK_BADLY = ("ogg",)
# Sample formats that PyAV gives no array of.
FORMATS_TO_CONVERT = {"s64": "dbl", "s64p": "dblp"}
NOT_INSTALLED = "it needs PyAV, which is not installed: install the extra `preparation`, or convert the file to wav"

Samples = NDArray[np.float32]


class MediaFile:
    """An open file: `samplerate` in Hz, `frames` (samples in one channel), and `read` of any part of it.

    Raises:
        UnusableClip: PyAV is not installed, or the file holds no audio.
        Exception: whatever PyAV raises for a file that it cannot read.
    """

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError:
            raise UnusableClip(NOT_INSTALLED) from None
        # An open file and not its name: names need not be valid UTF-8, and a playlist must not reach the network.
        self._file = open(path, "rb")  # noqa: SIM115 - closed in close()
        try:
            self._container: Any = av.open(self._file, options={"protocol_whitelist": "file"})
            if not self._container.streams.audio:
                raise UnusableClip("the file holds no audio")
            self._stream: Any = self._container.streams.audio[0]
            self.samplerate: int = self._stream.codec_context.sample_rate
            if not self.samplerate:
                raise UnusableClip("the file does not say how its audio is encoded")
            self._start = self._stream.start_time or 0
            self.frames = self._num_samples()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "MediaFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the container and its file."""
        self._container.close()
        self._file.close()

    def read(self, first: int, last: int) -> Samples:
        """Samples `[T, C]` from `first` up to `last`; less where the stream ends sooner.

        Raises:
            UnusableClip: the rate or the number of channels changes, or the file breaks off.
        """
        lead_from = first / self.samplerate - SEEK_LEAD_SEC
        if lead_from > 0 and self._container.format.name not in CONTAINERS_THAT_SEEK_BADLY:
            self._container.seek(self._start + int(lead_from / self._stream.time_base), stream=self._stream)
        parts: list[Samples] = []
        end = first
        for position, samples in self._decoded():
            if position >= last:
                break
            if position > end:
                parts.append(np.zeros((position - end, samples.shape[1]), np.float32))
                end = position
            kept = samples[max(0, end - position) : last - position]
            if parts and kept.shape[1] != parts[-1].shape[1]:
                raise UnusableClip("the number of channels changes within the file")
            parts.append(kept)
            end += len(kept)
        if end < last and end - first < WHOLE_SHARE * (last - first):
            seconds = f"{end / self.samplerate:.1f} s of {self.frames / self.samplerate:.1f} s"
            raise UnusableClip(f"the file breaks off after {seconds}; copy it again")
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    def _decoded(self) -> Iterator[tuple[int, Samples]]:
        """The position of each decoded part and its samples; packets that are damaged are passed over."""
        import av

        position: int | None = None
        wanted = FORMATS_TO_CONVERT.get(self._stream.codec_context.format.name)
        converter = None if wanted is None else av.AudioResampler(format=wanted)
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            for frame in frames if converter is None else [each for one in frames for each in converter.resample(one)]:
                if frame.sample_rate != self.samplerate:
                    raise UnusableClip("the sample rate changes within the file")
                stamped = self._position(frame.pts)
                if position is None or (stamped or 0) - position > GAP_SEC * self.samplerate:
                    position = stamped or 0
                samples = _as_float(frame)
                if position < 0:  # the codec's priming, which a file may give a time before its start
                    samples, position = samples[-position:], min(0, position + len(samples))
                yield position, samples
                position += len(samples)

    def _position(self, pts: int | None) -> int | None:
        return None if pts is None else round((pts - self._start) * self._stream.time_base * self.samplerate)

    def _num_samples(self) -> int:
        """Length by the header, else by the time stamps of all packets."""
        names = self._container.format.name.split(",")
        if any(name in CONTAINERS_WITH_LENGTH for name in names):
            if self._stream.duration:
                return round(self._stream.duration * self._stream.time_base * self.samplerate)
            if self._container.duration:
                return round(self._container.duration / 1_000_000 * self.samplerate)
        end = self._start
        for packet in self._container.demux(self._stream):
            if packet.pts is not None:
                end = max(end, packet.pts + (packet.duration or 0))
        self._container.seek(self._start, stream=self._stream)
        return self._position(end) or 0


def _as_float(frame: Any) -> Samples:
    """Samples `[T, C]` of one frame, integers scaled to full scale 1 as libsndfile does."""
    values = frame.to_ndarray()
    num_channels = frame.layout.nb_channels
    values = values.T if frame.format.is_planar else values.reshape(-1, num_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(values.dtype, np.integer):
        return (values / float(-np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)
