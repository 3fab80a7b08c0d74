"""How much of the training's time may go into speaking and scoring, and how much did."""

import time


class TimeBudget:
    """A share of the time since `start`; what one more evaluation costs is what the last one did."""

    def __init__(self, max_share: float, expected_sec: float = 0.0) -> None:
        """`expected_sec`: what the first evaluation will probably take."""
        self.max_share = max_share
        self._expected_sec = expected_sec
        self._spent_sec = 0.0
        self.start()

    def start(self) -> None:
        """From here on time counts."""
        self._started_sec = time.perf_counter()
        self._spent_sec = 0.0

    def spend(self, spent_sec: float, evaluated: bool) -> None:
        """Note what was spent; `evaluated`: on an evaluation, as the next one will be."""
        self._spent_sec += spent_sec
        if evaluated:
            self._expected_sec = spent_sec

    @property
    def share(self) -> float:
        """The share that was spent."""
        return self._spent_sec / max(time.perf_counter() - self._started_sec, 1e-9)

    @property
    def next_share(self) -> float:
        """The share that will have been spent after one more evaluation, if it is made now."""
        elapsed_sec = time.perf_counter() - self._started_sec
        return (self._spent_sec + self._expected_sec) / max(elapsed_sec + self._expected_sec, 1e-9)

    @property
    def allows_another(self) -> bool:
        """Whether one more evaluation keeps within the share."""
        return self.next_share <= self.max_share
